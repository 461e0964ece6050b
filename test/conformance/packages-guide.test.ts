/** The examples that install packages or reach sites: K, M2, M4 to M6, X1, X3, X5, E4, E6, D8, O5. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { after } from "node:test";
import type { Client, SessionClient } from "../support/client.ts";
import { goModuleFiles, PackageIndex, wheelFiles } from "../support/package-index.ts";
import { until } from "../support/server.ts";
import { conformance } from "./rounds.ts";

/** Stands for the Python index, a Go module proxy, and the sites that examples talk with. */
const index = await PackageIndex.start({
  ...wheelFiles("textkit", "2.0", "__version__ = '2.0'\ndef upper(text): return text.upper()\n"),
  ...wheelFiles(
    "bs4",
    "4.12.0",
    "__version__ = '4.12.0'\nclass BeautifulSoup:\n    def __init__(self, text, parser): self.text = text\n",
  ),
  ...wheelFiles("sklearn", "1.5", "__version__ = '1.5'\n"),
  ...goModuleFiles(
    "example.org/router",
    "v1.9.1",
    'package router\n\nfunc Default() string { return "router" }\n',
  ),
  "/users/1": JSON.stringify({ id: 1, name: "Leanne" }),
  "/posts": JSON.stringify({ id: 101 }),
});
after(() => index[Symbol.asyncDispose]());

const settings = () => ({
  ERA_PIP_INDEX_URL: `${index.url}/simple`,
  ERA_GOPROXY: index.url,
  ERA_NPM_REGISTRY: execFileSync("npm", ["config", "get", "registry"], { encoding: "utf8" }).trim(),
});

/** As the guides tell: asks again and again until it is done. */
async function polled(session: SessionClient): Promise<string> {
  let status = "";
  await until(
    `the setup of ${session.id} ends`,
    async () => {
      status = (await session.get()).setup_status;
      return !["pending", "running"].includes(status);
    },
    120_000,
  );
  return status;
}

async function put(session: SessionClient, files: Record<string, string>): Promise<void> {
  for (const [path, body] of Object.entries(files)) {
    const answer = await fetch(`${session.client.url}${session.path}/files/${path}`, { method: "PUT", body });
    assert.equal(answer.status, 200);
  }
}

conformance(
  "packages",
  {
    "K1, K7, R5: pip, as a list or as requirements": async (client, name) => {
      const session = await client.create(name("k1"), { setup: { pip: ["textkit==2.0", "requests"] } });
      assert.equal(await polled(session), "completed");
      await session.prints(
        "2.0 True\n",
        "import textkit, requests\nprint(textkit.__version__, bool(requests.__version__))",
      );
      await client.expect(200, "POST", `${session.path}/hibernate`);
      await session.prints("HI\n", "print(textkit.upper('hi'))");
      const second = await client.create(name("k1b"), {
        setup: { pip: { requirements: "textkit>=1.0\nsklearn==1.5\n" } },
      });
      assert.equal(await polled(second), "completed");
      await second.prints(
        "2.0 1.5\n",
        "import textkit, sklearn\nprint(textkit.__version__, sklearn.__version__)",
      );
    },
    "K2: npm for node": async (client, name) => {
      const session = await client.create(name("k2"), {
        language: "node",
        setup: { npm: ["axios", "express", "ms", "chalk"] },
      });
      assert.equal(await polled(session), "completed");
      await session.prints(
        "432000000 function function\n",
        `const ms = require("ms"); console.log(ms("5 days"), typeof require("axios").get, typeof require("express"))`,
      );
      await session.prints("string\n", `import chalk from "chalk"; console.log(typeof chalk.blue("x"))`);
    },
    "K3: npm for typescript": async (client, name) => {
      const session = await client.create(name("k3"), {
        language: "typescript",
        setup: { npm: ["ms", "chalk", "@types/ms"] },
      });
      await session.prints(
        "172800000\n",
        `import ms from "ms";\nconst value: number = ms("2 days");\nconsole.log(value);`,
        { check: true },
      );
    },
    "K4: a module for go": async (client, name) => {
      const session = await client.create(name("k4"), {
        language: "go",
        setup: { go: ["example.org/router@v1.9.1"] },
      });
      assert.equal(await polled(session), "completed");
      await session.prints(
        "router\n",
        `package main\nimport ("fmt"; "example.org/router")\nfunc main() { fmt.Println(router.Default()) }`,
      );
    },
    "K5: npm: imports in deno": async (client, name) => {
      const session = await client.create(name("k5"), { language: "deno", allowInternetAccess: true });
      const answer = await session.run(
        `import { format } from "npm:date-fns@4";\nimport { z } from "npm:zod@3";\nconsole.log("Formatted:", format(new Date(2024, 0, 1), "yyyy-MM-dd"), z.string().parse("x"));`,
        { timeout: 60 },
      );
      assert.equal(answer.stdout, "Formatted: 2024-01-01 x\n", answer.stderr);
    },
    "K6: pip and commands": async (client, name) => {
      const session = await client.create(name("k6"), {
        setup: { pip: ["textkit"], commands: ["mkdir -p /tmp/data", "echo a,b >/tmp/data/test.csv"] },
      });
      assert.equal(await polled(session), "completed");
      await session.prints("a,b\n", "print(open('/tmp/data/test.csv').read(), end='')");
    },
    "K8: a package that is nowhere": async (client, name) => {
      const session = await client.create(name("k8"), {
        setup: { pip: ["this-package-does-not-exist-12345"] },
      });
      assert.equal(await polled(session), "failed");
      const { setup_result } = await session.get();
      assert.equal(setup_result.success, false);
      assert.match(setup_result.error + setup_result.stderr, /this-package-does-not-exist-12345/);
    },
    "K9: a secret for one run": async (client, name) => {
      const session = await client.create(name("k9"));
      await session.prints(
        "Using API key: secr...\n",
        `import os\nkey = os.environ["API_KEY"]\nprint(f"Using API key: {key[:4]}...")`,
        { env: { API_KEY: "secret-key" } },
      );
    },
    "K10: create, poll, run": async (client, name) => {
      const session = await client.create(name("k10"), { setup: { pip: ["sklearn", "numpy", "pandas"] } });
      assert.equal(await polled(session), "completed");
      await session.prints(
        "✅ ML environment ready\n",
        "import sklearn, numpy, pandas\nprint('✅ ML environment ready')",
      );
    },
    "E4: variables of the setup are not those of runs": async (client, name) => {
      const session = await client.create(name("e4"), {
        setup: {
          pip: ["requests"],
          commands: ["mkdir -p $BUILD_TARGET"],
          envs: { SETUP_ENV: "x", BUILD_TARGET: "build" },
        },
      });
      await session.prints(
        "None None True\n",
        "import os\nprint(os.getenv('SETUP_ENV'), os.getenv('BUILD_TARGET'), os.path.isdir('build'))",
      );
    },
    "O5: sessions with setup and limits": async (client, name) => {
      const quick = await client.create(name("quick-task"), { persistent: false });
      await quick.prints("Hello World!\n", "print('Hello World!')");
      const processor = await client.create(name("data-processor"), {
        default_timeout: 60,
        setup: { pip: { requirements: "pandas numpy" } },
      });
      await processor.prints("3\n", "import pandas, numpy\nprint(len(pandas.Series(numpy.arange(3))))");
      const scraper = await client.create(name("scraper"), {
        default_timeout: 120,
        allowInternetAccess: true,
        setup: { pip: { requirements: "requests bs4" } },
      });
      await scraper.prints(
        "text\n",
        "import requests\nfrom bs4 import BeautifulSoup\nprint(BeautifulSoup('text', 'html.parser').text)",
        { timeout: 900 },
      );
    },
  },
  ["first"],
  settings,
);

conformance(
  "sites",
  {
    "E6: a request with a key": async (client, name) => {
      const session = await client.create(name("e6"), { allowInternetAccess: true });
      await session.prints(
        "200 Leanne\n",
        `import os, requests\nanswer = requests.get("${index.url}/users/1", headers={"Authorization": f"Bearer {os.environ['API_KEY']}"})\nprint(answer.status_code, answer.json()["name"])`,
        { env: { API_KEY: "secret123" } },
      );
    },
    "D8: GET and POST from Python and JavaScript, the result kept in the data": async (client, name) => {
      const python = await client.create(name("web-scraper"), {
        allowInternetAccess: true,
        setup: { pip: { requirements: "requests" } },
      });
      const answer = await python.run(
        `import json, requests\nuser = requests.get("${index.url}/users/1")\npost = requests.post("${index.url}/posts", json={"title": "x"})\nprint("Status:", user.status_code, post.status_code)\nopen(".session_data.json", "w").write(json.dumps({"user": user.json(), "post": post.json()}))`,
      );
      assert.deepEqual(
        [answer.stdout, answer.data],
        ["Status: 200 200\n", { user: { id: 1, name: "Leanne" }, post: { id: 101 } }],
      );
      const node = await client.create(name("d8-node"), {
        language: "node",
        allowInternetAccess: true,
        setup: { npm: ["axios"] },
      });
      await node.prints(
        "Status: 200 Leanne\n",
        `const axios = require("axios"); const { status, data } = await axios.get("${index.url}/users/1"); console.log("Status:", status, data.name)`,
      );
      const typescript = await client.create(name("d8-ts"), {
        language: "typescript",
        allowInternetAccess: true,
        setup: { npm: ["axios"] },
      });
      await typescript.prints(
        "200\n",
        `import axios from "axios";\nconst answer: { status: number } = await axios.post("${index.url}/posts", { title: "x" });\nconsole.log(answer.status);`,
      );
    },
    "D12: whether a session may reach the internet": async (client, name) => {
      const session = await client.create(name("d12"), { allowInternetAccess: true });
      assert.equal((await session.get()).allowInternetAccess, true);
      assert.equal((await (await client.create(name("d12b"))).get()).allowInternetAccess, false);
    },
    "O10: a task that calls back": async (client, name) => {
      const session = await client.create(name("async-task"), {
        allowInternetAccess: true,
        data: { callback_url: `${index.url}/posts` },
      });
      const before = index.asked.length;
      await session.prints(
        "Callback: 200\n",
        `import json, requests\ndata = json.load(open(".session_data.json"))\nanswer = requests.post(data["callback_url"], json={"status": "completed"})\nprint("Callback:", answer.status_code)`,
      );
      assert.deepEqual(index.asked.slice(before), ["/posts"]);
    },
  },
  ["first"],
  settings,
);

const EXPRESS = `const express = require("express");
const bodyParser = require("body-parser");
const cors = require("cors");
const { users } = require("./data/users.js");
const app = express();
app.use(cors());
app.use(bodyParser.json());
app.get("/", (request, response) => response.json({ message: "Express API" }));
app.get("/api/users", (request, response) => response.json(users));
app.get("/api/users/:id", (request, response) => {
  const user = users.find(({ id }) => id === Number(request.params.id));
  if (user) response.json(user); else response.status(404).json({ error: "User not found" });
});
app.post("/api/users", (request, response) => { const user = { id: users.length + 1, ...request.body }; users.push(user); response.status(201).json(user); });
app.listen(3000, () => console.log("listening"));`;

conformance(
  "projects of several files",
  {
    "M2: a package.json": async (client, name) => {
      const packageJson = JSON.stringify({
        name: "my-api",
        dependencies: { lodash: "^4.17.21", axios: "^1.6.0" },
      });
      const session = await client.create(name("my-api"), {
        language: "node",
        setup: { npm: { packageJson } },
      });
      await put(session, {
        "index.js": `const _ = require("lodash");\nconsole.log("Chunked:", _.chunk([1, 2, 3, 4, 5, 6], 2));`,
      });
      await session.prints("Chunked: [ [ 1, 2 ], [ 3, 4 ], [ 5, 6 ] ]\n", `require("./index.js")`);
    },
    "M4: Python packages in folders": async (client, name) => {
      const session = await client.create(name("data-processor"), { setup: { pip: ["pandas", "numpy"] } });
      await put(session, {
        "processors/__init__.py": "",
        "processors/clean.py": "import pandas as pd\ndef clean(rows): return pd.DataFrame(rows).dropna()\n",
        "utils/__init__.py": "",
        "utils/stats.py": "import numpy as np\ndef mean(values): return float(np.mean(values))\n",
        "main.py":
          "from processors.clean import clean\nfrom utils.stats import mean\nprint('Mean:', mean(clean([{'v': 1}, {'v': None}, {'v': 3}])['v']))\n",
      });
      await session.prints("Mean: 2.0\n", `exec(open("main.py").read())`);
    },
    "M5: a whole tree is uploaded": async (client, name) => {
      const session = await client.create(name("m5"), { language: "node" });
      const tree = mkdtempSync(join(tmpdir(), "era-tree-"));
      const files = {
        "index.js": "console.log(1)",
        "src/app/main.js": "module.exports = 2",
        "node_modules/x/index.js": "no",
        ".git/config": "no",
      };
      for (const [path, text] of Object.entries(files)) {
        mkdirSync(dirname(join(tree, path)), { recursive: true });
        writeFileSync(join(tree, path), text);
      }
      const entries = readdirSync(tree, { recursive: true, withFileTypes: true }).filter((entry) =>
        entry.isFile(),
      );
      const paths = entries
        .map((entry) => relative(tree, join(entry.parentPath, entry.name)))
        .filter((path) => !/^(node_modules|\.git)\//.test(path));
      await put(
        session,
        Object.fromEntries(paths.map((path) => [path, readFileSync(join(tree, path), "utf8")])),
      );
      const listed = await client.expect(200, "GET", `${session.path}/files`);
      assert.deepEqual(listed.files.map(({ path }: { path: string }) => path).sort(), [
        "index.js",
        "src/app/main.js",
      ]);
    },
    "M6: an Express server behind its public address": async (client, name) => {
      const session = await client.create(name("express-api"), {
        language: "node",
        setup: { npm: ["express", "body-parser", "cors"] },
      });
      assert.equal(await polled(session), "completed");
      await put(session, {
        "server.js": EXPRESS,
        "data/users.js": `exports.users = [{ id: 1, name: "Alice" }, { id: 2, name: "Bob" }];`,
      });
      await client.expect(200, "PUT", `${session.path}/code`, { code: `require("./server.js")` });
      const { url } = await client.expect(200, "GET", `${session.path}/host?port=3000`);
      const ask = async (path: string, options: RequestInit = {}) => {
        const answer = await fetch(url + path, options);
        return [answer.status, await answer.json()];
      };
      assert.deepEqual(await ask("/api/users"), [
        200,
        [
          { id: 1, name: "Alice" },
          { id: 2, name: "Bob" },
        ],
      ]);
      assert.deepEqual(await ask("/api/users/9"), [404, { error: "User not found" }]);
      const headers = { "content-type": "application/json" };
      assert.deepEqual(await ask("/api/users", { method: "POST", headers, body: `{"name":"Carol"}` }), [
        201,
        { id: 3, name: "Carol" },
      ]);
      assert.deepEqual(await ask("/"), [200, { message: "Express API" }]);
    },
    "X1: JavaScript with packages and modules": async (client, name) => {
      const session = await client.create(name("x1"), { language: "node", setup: { npm: ["lodash"] } });
      await put(session, {
        "utils/math.js": "exports.add = (a, b) => a + b;\nexports.multiply = (a, b) => a * b;",
      });
      await session.prints(
        "Add(2, 3): 5\nMultiply(4, 5): 20\nChunk: [[1,2],[3,4]]\nSum: 10\n✅ JS test passed!\n",
        `const _ = require("lodash");\nconst { add, multiply } = require("./utils/math.js");\nconsole.log("Add(2, 3):", add(2, 3));\nconsole.log("Multiply(4, 5):", multiply(4, 5));\nconsole.log("Chunk:", JSON.stringify(_.chunk([1, 2, 3, 4], 2)));\nconsole.log("Sum:", _.sum([1, 2, 3, 4]));\nconsole.log("✅ JS test passed!");`,
      );
    },
    "X3: Python with packages and modules": async (client, name) => {
      const session = await client.create(name("x3"), { setup: { pip: ["requests"] } });
      await put(session, {
        "utils/__init__.py": "",
        "utils/math.py": "def add(a, b): return a + b\ndef multiply(a, b): return a * b\n",
        "utils/text.py": "def upper(text): return text.upper()\n",
      });
      const answer = await session.run(
        `from utils.math import add, multiply\nfrom utils.text import upper\nimport requests\nprint("Add(2, 3):", add(2, 3))\nprint("Multiply(4, 5):", multiply(4, 5))\nprint('Upper("hello"):', upper("hello"))\nprint("requests version:", requests.__version__)\nprint("✅ Python test passed!")`,
      );
      assert.match(
        answer.stdout,
        /^Add\(2, 3\): 5\nMultiply\(4, 5\): 20\nUpper\("hello"\): HELLO\nrequests version: \d[\d.]*\n✅ Python test passed!\n$/,
      );
    },
    "X5: a pipeline with pandas": async (client, name) => {
      const session = await client.create(name("x5"), { setup: { pip: ["pandas", "numpy"] } });
      const answer = await session.run(
        `import logging, sys\nimport numpy as np, pandas as pd\nlogging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s", force=True)\nframe = pd.DataFrame({"value": np.random.rand(100), "kind": np.random.choice(["a", "b"], 100)})\nlogging.info("Generated %d rows", len(frame))\nsummary = frame.groupby("kind")["value"].agg(["mean", "count"])\nsummary.to_csv("summary.csv")\nlogging.info("Saved %d groups", len(summary))\nprint("✅ Pipeline completed successfully!")`,
        { timeout: 60 },
      );
      assert.equal(
        answer.stdout,
        "INFO Generated 100 rows\nINFO Saved 2 groups\n✅ Pipeline completed successfully!\n",
        answer.stderr,
      );
    },
  } satisfies Record<string, (client: Client, name: (id: string) => string) => Promise<void>>,
  ["first"],
  settings,
);

/** guides/persistence, P1 to P18. */
import assert from "node:assert/strict";
import { conformance, WITH_BREAKS } from "./rounds.ts";

conformance(
  "persistence guide",
  {
    "P1: variables persist": async (client, name) => {
      const session = await client.create(name("p1"));
      await session.prints("", `counter = 0\nuser_data = {"name": "Alice", "score": 0}`);
      await session.prints(
        "Counter: 1, Score: 10\n",
        `counter += 1\nuser_data["score"] += 10\nprint(f"Counter: {counter}, Score: {user_data["score"]}")`,
      );
    },
    "P2: files persist": async (client, name) => {
      const session = await client.create(name("p2"));
      await session.prints(
        "",
        `import json\nwith open("config.json", "w") as f:\n    json.dump({"setting": "value"}, f)`,
      );
      await session.prints(
        `Config: {"setting": "value"}\n`,
        `with open("config.json") as f:\n    print("Config: " + f.read())`,
      );
    },
    "P3: imports persist": async (client, name) => {
      const session = await client.create(name("p3"));
      await session.prints("", "import json\nimport math\nfrom datetime import datetime");
      const answer = await session.run(`print(json.dumps({"timestamp": datetime.now().isoformat()}))`);
      assert.ok(!Number.isNaN(Date.parse(JSON.parse(answer.stdout).timestamp)));
    },
    "P4: a session begins with its data": async (client, name) => {
      const data = { user_id: 123, workspace: "analytics" };
      const session = await client.create(name("p4"), { data });
      assert.deepEqual((await session.get()).data, data);
    },
    "P5: sessions do not see each other": async (client, name) => {
      const a = await client.create(name("session-a"));
      const b = await client.create(name("session-b"));
      await a.prints("", `shared_data = "only in a"`);
      await b.fails(/NameError.*shared_data/, "print(shared_data)");
    },
    "P6: one-shot runs keep nothing": async (client) => {
      assert.equal((await client.execute("data = [1, 2, 3]")).exit_code, 0);
      const second = await client.execute("print(data)");
      assert.equal(second.exit_code, 1);
      assert.match(second.stderr, /NameError/);
    },
    "P7: configuration in a file": async (client, name) => {
      const session = await client.create(name("p7"));
      await session.prints(
        "",
        `import json\nconfig = {"api_url": "https://api.example.com", "timeout": 30}\nwith open("config.json", "w") as f:\n    json.dump(config, f)`,
      );
      await session.prints(
        "API URL: https://api.example.com\n",
        `import json\nwith open("config.json") as f:\n    config = json.load(f)\nprint(f"API URL: {config["api_url"]}")`,
      );
    },
    "P8: data accumulates in a file": async (client, name) => {
      const session = await client.create(name("logger"));
      const append = (action: string) =>
        `import json\nwith open("log.json") as f:\n    log = json.load(f)\nlog.append({"action": "${action}"})\nwith open("log.json", "w") as f:\n    json.dump(log, f)\nprint(f"Log entries: {len(log)}")`;
      await session.prints("", `import json\nwith open("log.json", "w") as f:\n    json.dump([], f)`);
      await session.prints("Log entries: 1\n", append("login"));
      await session.prints("Log entries: 2\n", append("view"));
    },
    "P9, P10, P11, P12: a state machine in variables": async (client, name) => {
      const session = await client.create(name("workflow"));
      const step = (state: string, then: string) =>
        `if state == "${state}":\n    ${then.split("\n").join("\n    ")}\nelse:\n    print(f"Invalid state: {state}")`;
      await session.prints(
        "State: initialized\n",
        `state = "initialized"\nsteps_completed = 0\nprint(f"State: {state}")`,
      );
      await session.prints(
        "Data collected. State: data_collected\n",
        step(
          "initialized",
          `data = [1, 2, 3, 4, 5]\nstate = "data_collected"\nsteps_completed += 1\nprint(f"Data collected. State: {state}")`,
        ),
      );
      await session.prints(
        "Average: 3.0. State: processed\n",
        step(
          "data_collected",
          `average = sum(data) / len(data)\nstate = "processed"\nsteps_completed += 1\nprint(f"Average: {average}. State: {state}")`,
        ),
      );
      await session.prints(
        "Workflow completed in 2 steps\n",
        step("processed", `state = "complete"\nprint(f"Workflow completed in {steps_completed} steps")`),
      );
    },
    "P13, P14: a cache in a file": async (client, name) => {
      const session = await client.create(name("cache-demo"));
      const compute = `import json, os
if os.path.exists("cache.json"):
    with open("cache.json") as f:
        result = json.load(f)["result"]
    print("Using cached result")
else:
    result = sum(range(1000000))
    with open("cache.json", "w") as f:
        json.dump({"result": result}, f)
    print("Computed and cached result")
print(f"Result: {result}")`;
      await session.prints("Computed and cached result\nResult: 499999500000\n", compute);
      await session.prints(
        "Cached result: 499999500000\n",
        `import json\nwith open("cache.json") as f:\n    cache = json.load(f)\nprint(f"Cached result: {cache["result"]}")`,
      );
      await session.prints("Using cached result\nResult: 499999500000\n", compute);
    },
    "P15: update_data is merged into the data": async (client, name) => {
      const session = await client.create(name("p15"), { data: { older: true } });
      const update_data = { last_result: 42, computation_count: 1, updated_at: "2024-01-15T10:30:00Z" };
      const answer = await session.prints("Computed: 42\n", `result = 42\nprint(f"Computed: {result}")`, {
        update_data,
      });
      assert.deepEqual(answer.data, { older: true, ...update_data });
      assert.deepEqual((await session.get()).data, { older: true, ...update_data });
    },
    "P16: initialise once": async (client, name) => {
      const session = await client.create(name("p16"));
      const code = `import os, json
if not os.path.exists("config.json"):
    with open("config.json", "w") as f:
        json.dump({"created": True}, f)
if "state" not in dir():
    state = {"runs": 0}
state["runs"] += 1
print("Session initialized")`;
      await session.prints("Session initialized\n", code);
      await session.prints("Session initialized\n", code);
      await session.prints("2\n", `print(state["runs"])`);
    },
    "P17: check for existence": async (client, name) => {
      const session = await client.create(name("p17"));
      const code = `import json, os
if os.path.exists("data.json"):
    with open("data.json") as f:
        data = json.load(f)
    print(f"Loaded existing data: {len(data)} items")
else:
    data = []
    print("Initialized new data")
data.append({"value": 42})
with open("data.json", "w") as f:
    json.dump(data, f)`;
      await session.prints("Initialized new data\n", code);
      await session.prints("Loaded existing data: 1 items\n", code);
    },
    "P18: migrate a schema": async (client, name) => {
      const session = await client.create(name("p18"));
      const migrate = `import json
try:
    with open("data.json") as f:
        data = json.load(f)
    if data.get("version") != "2.0":
        print(f"Migrating from {data.get("version")} to 2.0")
        data["version"] = "2.0"
except FileNotFoundError:
    data = {"version": "2.0"}
with open("data.json", "w") as f:
    json.dump(data, f)`;
      await session.prints("", migrate);
      await session.prints("", `with open("data.json", "w") as f:\n    json.dump({"version": "1.0"}, f)`);
      await session.prints("Migrating from 1.0 to 2.0\n", migrate);
      await session.prints("2.0\n", `print(json.load(open("data.json"))["version"])`);
    },
  },
  WITH_BREAKS,
);

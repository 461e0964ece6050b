/**
 * Loaded before a JavaScript kernel: it works in folders of a test, whose names are in its environment, not in a
 * sandbox's.
 */
import { registerHooks } from "node:module";

const { ERA_TEST_FOLDER: folder } = process.env;
registerHooks({
  resolve: (specifier, context, next) =>
    next(specifier === "./vendor/acorn.mjs" ? "acorn" : specifier, context),
  load(url, context, next) {
    const loaded = next(url, context);
    if (!url.includes("/guest/javascript/")) return loaded;
    const source = String(loaded.source)
      .replaceAll('"/run/era-state"', JSON.stringify(`${folder}/state`))
      .replaceAll('"/workspace', `"${folder}/workspace`);
    return { ...loaded, source };
  },
});

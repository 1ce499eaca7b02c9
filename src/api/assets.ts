// The console's files, read once at start into memory: a request is a look-up of its exact path, never a file name.
// What the files do is console/; uPlot comes from its own package.

import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Hono } from 'hono';
import { WeirError } from '../base/errors.ts';
import type { ApiEnvironment } from './guard.ts';

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};

interface Asset {
  readonly body: Uint8Array<ArrayBuffer>;
  readonly type: string;
  readonly etag: string;
}

export type Assets = ReadonlyMap<string, Asset>;

function readAsset(file: string): Asset {
  const body = new Uint8Array(readFileSync(file));
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`;
  return { body, type: types[path.extname(file)], etag };
}

/**
 * All assets by request path. `root` is the package's folder: pages and styles in console/, compiled scripts in
 * dist/console/. Throws `fault` when the console was not built.
 */
export function readAssets(root: string): Assets {
  const assets = new Map<string, Asset>();
  const take = (directory: string, extensions: readonly string[]): void => {
    for (const name of readdirSync(directory).sort())
      if (extensions.includes(path.extname(name)) && !name.includes('.test.'))
        assets.set(`/${name}`, readAsset(path.join(directory, name)));
  };
  try {
    take(path.join(root, 'console'), ['.html', '.css', '.svg']);
    take(path.join(root, 'dist', 'console'), ['.js']);
    const uplot = path.dirname(createRequire(path.join(root, 'package.json')).resolve('uplot'));
    assets.set('/uplot.js', readAsset(path.join(uplot, 'uPlot.esm.js')));
    assets.set('/uplot.css', readAsset(path.join(uplot, 'uPlot.min.css')));
  } catch (error) {
    throw new WeirError('fault', `the console's files are not complete: ${(error as Error).message}`, { root }, error);
  }
  return assets;
}

/** Public files need no sign-in: they hold no data. `index.html` is not among them: app.ts decides who gets it. */
export function assetRoutes(assets: Assets): Hono<ApiEnvironment> {
  const routes = new Hono<ApiEnvironment>();
  routes.get('*', async (context, next) => {
    const asset = assets.get(context.req.path);
    if (!asset || context.req.path === '/index.html') return next();
    context.header('ETag', asset.etag);
    context.header('Cache-Control', 'no-cache');
    if (context.req.header('if-none-match') === asset.etag) return context.body(null, 304);
    context.header('Content-Type', asset.type);
    return context.body(asset.body);
  });
  return routes;
}

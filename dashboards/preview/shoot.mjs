// Takes the pictures: node shoot.mjs CHROMIUM < [{"url": ..., "width": ..., "picture": ...}]; writes, as JSON, what the
// pages had to complain about.
import { readFileSync, writeFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import UPNG from 'upng-js';

const flags =
  '--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync';
// Milliseconds a page gets to ask and draw everything, on a busy machine.
const PATIENCE = 60000;
// Higher than any dashboard: tables draw only what is in view.
const HEIGHT = 4000;
// Enough for flat colors and smoothed letters, and a third of the bytes.
const COLORS = 256;

function small(png) {
  const image = UPNG.decode(png);
  return Buffer.from(UPNG.encode(UPNG.toRGBA8(image), image.width, image.height, COLORS));
}


const browser = await chromium.launch({ executablePath: process.argv[2], args: flags.split(' ') });
const said = [];
for (const { url, width, picture } of JSON.parse(readFileSync(0, 'utf8'))) {
  const page = await browser.newPage({ viewport: { width, height: HEIGHT } });
  const failed = new Promise((_, reject) => page.on('pageerror', reject));
  await page.goto(url);
  await Promise.race([
    failed,
    page.waitForFunction(() => document.title.startsWith('done'), null, { timeout: PATIENCE }),
  ]);
  said.push(...JSON.parse((await page.title()).slice('done '.length)));
  writeFileSync(picture, small(await page.locator('#root').screenshot()));
  await page.close();
}
await browser.close();
process.stdout.write(JSON.stringify(said));

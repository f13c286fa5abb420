/** `describe` and `test` for what runs on a GPU: skipped without one, or failing where TRELLIS_REQUIRE asks for webgpu. */
import * as vitest from 'vitest';
import { missing } from '../gpu/gpu.js';

type Describe = typeof vitest.describe.skip;
type Test = typeof vitest.test.skip;

export const describe: Describe = missing === undefined ? vitest.describe : vitest.describe.skip;
export const test: Test = missing === undefined ? vitest.test : vitest.test.skip;

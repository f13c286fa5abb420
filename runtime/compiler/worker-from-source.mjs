// In a checkout a thread needs the TypeScript loader that the main thread was started with. Not part of the package.
import { register } from 'tsx/esm/api';

register();
await import('./worker.ts');

/** The thread that reads and compiles specs, so that the event loop of the program goes on meanwhile. */
import { parentPort } from 'node:worker_threads';
import { outline, prepare } from './compile.js';
import { type Answer, answerOfError, type Request } from './protocol.js';

parentPort?.on('message', ({ id, request }: { id: number; request: Request }) => {
  let answer: Answer;
  try {
    const value =
      request.kind === 'outline'
        ? outline(request.wanted)
        : prepare(request.wanted, request.equations, request.options);
    answer = { id, value };
  } catch (error) {
    answer = answerOfError(id, error);
  }
  parentPort?.postMessage(answer);
});

/**
 * A peer in a process of its own: it reads commands from stdin and answers on stdout, one JSON object a line each, so that
 * its rounds and ours can alternate while everything it holds stays warm.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';

export type Answer = Readonly<Record<string, unknown>>;

export class Child {
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #reader: Interface;
  readonly #name: string;

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.#name = command;
    this.#process = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'inherit'] });
    // A child that is not there ends its output, which the next question sees.
    this.#process.on('error', () => this.#reader.close());
    this.#process.stdin!.on('error', () => {});
    this.#reader = createInterface({ input: this.#process.stdout! });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** What the child answers; throws where it says `error` or ends. */
  async ask(question: object): Promise<Answer> {
    this.#process.stdin!.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.#lines.next();
    if (done === true) throw new Error(`${this.#name} ended`);
    const answer = JSON.parse(value) as Answer;
    if (typeof answer.error === 'string') throw new Error(answer.error);
    return answer;
  }

  end(): void {
    this.#process.stdin!.end();
    this.#process.kill();
  }
}

/** Lets a thread that spins after its work fall asleep before somebody else is measured. */
export function settle(milliseconds = 60): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

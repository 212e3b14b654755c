/** What is expected to fail, and how it did. */

export interface Attempts {
  /** `<code> <sentence>` of each error, in order. */
  readonly errors: string[];
  /** Runs something, and notes its error if there is one. */
  attempt(work: () => unknown): Promise<void>;
}

export function noteErrors(): Attempts {
  const errors: string[] = [];
  return {
    errors,
    async attempt(work): Promise<void> {
      try {
        await work();
      } catch (error) {
        const { code, message } = error as { code?: string; message: string };
        errors.push(`${code ?? 'no code'} ${message}`);
      }
    },
  };
}

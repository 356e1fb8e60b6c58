import type { Log } from '../base/log.ts'

/** Undoes steps in reverse order. Each gets its chance: one that fails is logged. */
export class CleanupStack {
  private readonly steps: { name: string; undo: () => unknown; local: boolean }[] = []

  /** @param options.local it is done at once and needs no cluster */
  add(name: string, undo: () => unknown, options: { local?: boolean } = {}): void {
    this.steps.push({ name, undo, local: options.local ?? false })
  }

  /** When there is no time left: the local steps alone, before the process ends. */
  abandon(): void {
    for (const { undo, local } of this.steps.reverse()) if (local) undo()
  }

  async run(log: Log): Promise<void> {
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      try {
        await step.undo()
      } catch (error) {
        log.warn({ error }, `cleaning up failed: ${step.name}`)
      }
    }
  }
}

import type { Log } from '../base/log.ts'

/** Undoes steps in reverse order. Each gets its chance: one that fails is logged. */
export class CleanupStack {
  private readonly steps: { name: string; undo: () => unknown }[] = []

  add(name: string, undo: () => unknown): void {
    this.steps.push({ name, undo })
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

export type Level = 'ok' | 'note' | 'warning' | 'error'

/** One thing that was looked at. */
export interface Finding {
  level: Level
  /** what it is about: `cluster site-b`, `pool volumes` … */
  subject: string
  text: string
  /** what to do; of anything but `ok` and `note` */
  cure?: string
}

/** Takes findings as they come. */
export class Findings {
  readonly list: Finding[] = []

  constructor(private readonly onFinding: (finding: Finding) => void = () => undefined) {}

  ok(subject: string, text: string): void {
    this.add({ level: 'ok', subject, text })
  }

  note(subject: string, text: string): void {
    this.add({ level: 'note', subject, text })
  }

  warning(subject: string, text: string, cure: string): void {
    this.add({ level: 'warning', subject, text, cure })
  }

  error(subject: string, text: string, cure: string): void {
    this.add({ level: 'error', subject, text, cure })
  }

  add(finding: Finding): void {
    this.list.push(finding)
    this.onFinding(finding)
  }

  count(level: Level): number {
    return this.list.filter((finding) => finding.level === level).length
  }
}

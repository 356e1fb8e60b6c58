import { radosContract } from './rados.suite.ts'
import { memoryFixture } from '../support/emulated.ts'

radosContract('the RADOS contract on an emulated cluster in memory', memoryFixture)

/**
 * Where an emulated cluster is known to answer otherwise than an OSD, each with an operation that shows it. The comparison fails when one of
 * them comes to be equal: then it is to be deleted here.
 */
export interface Divergence {
  readonly name: string
  readonly why: string
}

export const knownDivergences: Readonly<Record<string, Divergence>> = {
  versionSteps: {
    name: 'an object gets versions without gaps',
    why: "an OSD's versions also count the failed writes, clones and trims of a placement group",
  },
  removedTwice: {
    name: 'an object that one operation removes, creates and removes again is removed',
    why: 'an OSD forgets the first removal along with the second, and what follows changes the object as it was before',
  },
}

/** The same for methods of object classes. */
export const knownClassDivergences = {
  classEnumerations: {
    name: 'a number without a name in the input of an object-class method is EINVAL',
    why: "Ceph's classes store what they are given; ours could not tell anybody what it means",
  },
  cutObjectMap: {
    name: 'an object map that ends with its header is EINVAL to an update',
    why: 'an OSD takes the missing states from whatever lies in its memory, and writes them',
  },
} satisfies Readonly<Record<string, Divergence>>

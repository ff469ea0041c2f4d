/// Every check of guard and read-back, by name, so that a test build can take one out and prove that something notices.
///
/// The writer that is installed enforces all of them; see `station-writer`'s main.
package enum Check: String, CaseIterable, Sendable {
    // The guard, in its order.
    case trust, wholeDisk, place, ambiguity, reader, cardType, exclusive, nodeNumber, sequence, writeProtection,
        sizeLimits, contentFits, sectorSize, held, loop, swap, mounted, systemDisk, protectedLabel, condition,
        sequenceOfWriter
    // The job.
    case identityBeforeRequest, identityAtEnd, surveyComparison, fullRequest, inputOutputError, wipeReadBack,
        capacityBefore, capacityAfter, marker, pageCache, cacheDistance, freshBuffer, comparison, headComparison, hash
}

extension Set<Check> {
    /// What the installed writer enforces.
    package static var all: Set<Check> { Set(Check.allCases) }
}

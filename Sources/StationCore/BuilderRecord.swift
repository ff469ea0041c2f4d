/// What the station remembers of one Image Builder.
package struct BuilderRecord: Equatable, Codable, Sendable {
    package enum State: String, Codable, CaseIterable, Sendable {
        /// It is being fetched.
        case pending
        case ready
        /// The last attempt to fetch it failed, and no other is here.
        case broken
        /// A newer one of the same snapshot took its place.
        case deprecated
    }

    package var release: String
    package var target: String
    package var subtarget: String
    package var state: State
    /// Of the archive, as all that follows; nil while there is none.
    package var sha256: SHA256Digest?
    package var archiveName: String?
    package var archiveByteCount: UInt64?
    /// What it takes unpacked.
    package var byteCount: UInt64?
    package var vouching: ImageVouching?
    /// The base URL that it came from.
    package var mirror: String?
    package var architecture: String?
    /// `r28739-d9340319c6`.
    package var revision: String?
    package var defaultPackages: [String]
    /// When its state changed last, in seconds since 1970, and by whose order.
    package var changedAt: Double
    package var changedByUserID: UInt32?
    /// When a build worked with it last.
    package var lastUsedAt: Double?
    /// Why it is broken.
    package var problem: StationError?

    package init(triple: BuilderTriple, state: State, changedAt: Double, changedByUserID: UInt32?) {
        (release, target, subtarget) = (triple.release, triple.target, triple.subtarget)
        self.state = state
        self.changedAt = changedAt
        self.changedByUserID = changedByUserID
        defaultPackages = []
    }

    /// Takes over what the library says of it.
    package mutating func take(_ facts: BuilderFacts) {
        sha256 = facts.archiveSHA256
        archiveName = facts.archiveName
        archiveByteCount = facts.archiveByteCount
        byteCount = facts.byteCount
        vouching = facts.vouching
        mirror = facts.mirror
        architecture = facts.architecture
        revision = facts.revision
        defaultPackages = facts.defaultPackages
    }

    /// `24.10.2/x86/64`.
    package var title: String { "\(release)/\(target)/\(subtarget)" }
}

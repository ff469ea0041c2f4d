/// One build as it is remembered.
package struct BuildRecord: Equatable, Codable, Sendable {
    package enum State: String, Codable, CaseIterable, Sendable {
        /// It waits for another, or runs.
        case running
        case succeeded, failed, cancelled
        /// Station, library or power went away.
        case interrupted
    }

    /// Counts up over all boots.
    package var sequence: Int64
    package var id: BuildID
    package var profileID: String
    package var profileVersion: Int
    package var release: String
    package var target: String
    package var subtarget: String
    /// Of everything that makes a difference.
    package var key: SHA256Digest
    package var builderSHA256: SHA256Digest
    package var state: State
    /// Seconds since 1970.
    package var startedAt: Double
    package var wasClockSynchronised: Bool
    package var endedAt: Double?
    /// Nil for the station itself.
    package var callerUserID: UInt32?
    package var lastUsedAt: Double?
    /// Whether its files are there still.
    package var isKept: Bool
    package var product: BuildProduct?
    /// Why it has none.
    package var problem: StationError?

    package init(
        sequence: Int64, id: BuildID, profileID: String, profileVersion: Int, triple: BuilderTriple, key: SHA256Digest,
        builderSHA256: SHA256Digest, state: State, startedAt: Double, wasClockSynchronised: Bool,
        callerUserID: UInt32?
    ) {
        self.sequence = sequence
        self.id = id
        self.profileID = profileID
        self.profileVersion = profileVersion
        (release, target, subtarget) = (triple.release, triple.target, triple.subtarget)
        self.key = key
        self.builderSHA256 = builderSHA256
        self.state = state
        self.startedAt = startedAt
        self.wasClockSynchronised = wasClockSynchronised
        self.callerUserID = callerUserID
        isKept = false
    }

    /// What a slot's cards get of it.
    /// - Throws: `no_card_image`, `build_not_usable`.
    package func assignment() throws(StationError) -> Assignment {
        guard let product, state == .succeeded else {
            throw problem
                ?? StationError("build_not_usable", "the build \(id.short) has nothing", remedy: "build it again")
        }
        guard let card = product.card else {
            throw product.cardRefusal
                ?? StationError("no_card_image", "the build \(id.short) has no image for a card")
        }
        return Assignment(
            image: try ImageName(Self.imageName(profileID: profileID, build: id)), sha256: card.sha256,
            byteCount: card.byteCount, profile: profileID, build: id)
    }

    /// `home.ap.24.10-1a2b3c4d`: an image's name has 128 characters at most, as a profile's id.
    private static func imageName(profileID: String, build: BuildID) -> String {
        "\(profileID.prefix(128 - 9))-\(build.short)"
    }
}

/// What a store holds, counted while its snapshot was taken.
package struct StoreSummary: Codable, Equatable, Sendable {
    /// The newest of the steps that its tables have taken.
    package var schemaVersion: Int
    package var imageCount: Int
    package var profileCount: Int
    package var buildCount: Int
    package var jobCount: Int
    package var cardCount: Int
    /// Of the snapshot, in bytes.
    package var byteCount: UInt64

    package init(
        schemaVersion: Int, imageCount: Int, profileCount: Int, buildCount: Int, jobCount: Int, cardCount: Int,
        byteCount: UInt64
    ) {
        self.schemaVersion = schemaVersion
        self.imageCount = imageCount
        self.profileCount = profileCount
        self.buildCount = buildCount
        self.jobCount = jobCount
        self.cardCount = cardCount
        self.byteCount = byteCount
    }
}

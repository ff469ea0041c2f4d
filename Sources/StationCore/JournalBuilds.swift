/// What the journal says of Image Builders and builds.
extension JournalEntry {
    /// An Image Builder is in the library now.
    package static func builderReady(_ builder: BuilderRecord, callerUserID: UInt32?) -> JournalEntry {
        let vouched =
            builder.vouching?.key.map { "signed by \($0)" } ?? "not signed by anybody known"
        return JournalEntry(
            .builderReady, .notice,
            "Image Builder \(builder.title) is ready: \(builder.revision ?? "?"), \(Quantity.bytes(builder.byteCount ?? 0)), \(vouched)",
            [.builder: builder.title, .callerUserID: callerUserID.map { String($0) }])
    }

    package static func builderFailed(_ triple: BuilderTriple, _ problem: StationError) -> JournalEntry {
        let again = "stationctl builder ensure \(triple.release) \(triple.target) \(triple.subtarget)"
        return JournalEntry(
            .builderFailed, .error, "Image Builder \(triple): \(problem)",
            [
                .builder: triple.description, .reason: problem.code,
                .remedy: problem.remedy.isEmpty ? again : problem.remedy,
            ])
    }

    package static func builderDoubtful(_ triple: BuilderTriple, _ problem: StationError) -> JournalEntry {
        JournalEntry(
            .builderDoubtful, .warning, "Image Builder \(triple) is used all the same: \(problem)",
            [.builder: triple.description, .reason: problem.code, .remedy: problem.remedy])
    }

    package static func buildSucceeded(_ build: BuildRecord) -> JournalEntry {
        let card = build.product?.card.map { "card image \(Quantity.bytes($0.byteCount))" } ?? "no image for a card"
        let seconds = build.endedAt.map { " in \(Int(max(0, $0 - build.startedAt))) s" } ?? ""
        return JournalEntry(
            .buildSucceeded, .notice,
            "\(build.profileID): built\(seconds), \(build.product?.packageCount ?? 0) packages, \(card) (build \(build.id.short))",
            fields(build).merging([.imageSHA256: build.product?.card?.sha256.hexadecimal]) { $1 })
    }

    package static func buildFailed(_ build: BuildRecord, _ problem: StationError) -> JournalEntry {
        let remedy =
            problem.remedy.isEmpty
            ? "stationctl builds log \(build.id.short)" : problem.remedy.replacing("BUILD", with: build.id.short)
        return JournalEntry(
            .buildFailed, .error,
            "\(build.profileID): build FAILED — \(problem.code): \(problem.message); \(remedy) (build \(build.id.short))",
            fields(build).merging([.reason: problem.code, .remedy: remedy]) { $1 })
    }

    /// What was asked for is there already.
    package static func buildReused(_ build: BuildRecord) -> JournalEntry {
        JournalEntry(
            .buildReused, .notice, "\(build.profileID): the build \(build.id.short) is used again", fields(build))
    }

    /// A slot waits for an image.
    package static func slotPreparing(_ slot: SlotName, profile: String, callerUserID: UInt32) -> JournalEntry {
        JournalEntry(
            .slotPreparing, .notice,
            "\(slot): its next cards get \(profile), whose image is made ready; cards wait until then (by uid \(callerUserID))",
            [.slot: slot.text, .profile: profile, .callerUserID: String(callerUserID)])
    }

    private static func fields(_ build: BuildRecord) -> [Field: String?] {
        [
            .build: build.id.text, .profile: build.profileID,
            .builder: "\(build.release)/\(build.target)/\(build.subtarget)",
            .callerUserID: build.callerUserID.map { String($0) },
        ]
    }
}

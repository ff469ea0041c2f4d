import StationCore

/// Imports and builds seal images before any record knows of them; what no record needs is removed.
extension Station {
    /// An import or a build is going to seal an image.
    /// - Returns: what `sealingEnded` takes.
    func sealingBegins() async throws(StationError) -> Int64 {
        sealingsUnderWay += 1
        do {
            return try await store.beginSealing(among: images.all())
        } catch {
            sealingsUnderWay -= 1
            throw error
        }
    }

    func sealingEnded(_ sealing: Int64, _ end: SealingEnd) async {
        sealingsUnderWay -= 1
        do {
            await removeUnused(try await store.endSealing(sealing, end, among: images.all()))
        } catch {
            journal.write(.storeProblem(error))
        }
    }

    /// Runs a build, which seals an image.
    func sealing(_ build: @Sendable () async throws -> BuildRecord) async throws -> BuildRecord {
        let sealing = try await sealingBegins()
        do {
            let record = try await build()
            await sealingEnded(sealing, .recorded)
            return record
        } catch {
            await sealingEnded(sealing, SealingEnd(error))
            throw error
        }
    }

    /// Removes what the station before this one sealed without a record, or had no time to remove.
    func removeLeftovers() async {
        do {
            await removeUnused(try await store.takeLeftovers(among: images.all()))
        } catch {
            journal.write(.storeProblem(error))
        }
    }

    /// Removes these and others that wait for it, as soon as nobody may be sealing the very same.
    func removeUnused(_ images: Set<SHA256Digest>) async {
        noteUnused(images)
        do {
            try await removeUnusedImages()
        } catch {
            journal.write(.storeProblem(error as? StationError ?? StationError("library_lost", "\(error)")))
        }
    }

    func noteUnused(_ images: Set<SHA256Digest>) { unusedImages.formUnion(images) }

    /// Removes bytes that nothing stands for; not while somebody may be sealing the very same.
    func removeUnusedImages() async throws {
        while sealingsUnderWay == 0, let sha256 = unusedImages.popFirst() {
            if try await !store.isReferenced(sha256) { try await library.complete(.removeImage(sha256)) }
            try await store.settleUnused(sha256)
        }
    }
}

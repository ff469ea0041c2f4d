package import StationCore
package import StationLinux

/// What the control socket asks of the station.
extension Station: StationControl {
    package func status() async -> Control.Status { currentStatus }

    package func statusUpdates() async -> AsyncStream<Control.Status> { subscribeToStatus() }

    package func deviceUpdates() async -> AsyncStream<Control.DeviceSeen> { subscribeToDevices() }

    package func explain(slot: String) async throws -> Control.Gates {
        let machine = try runner(named: slot).current
        let isThere = machine.assignment.map { images.contains($0.sha256, byteCount: $0.byteCount) } ?? false
        // What the machine itself notes stands in the gates.
        let own = SlotStatus(machine).notes
        let status = currentStatus.slots.first { $0.name == machine.slot.name }
        return Control.Gates(
            gates: Explanation.gates(of: machine, isImageThere: isThere, elsewhere: elsewhere(machine.slot)),
            notes: (status?.notes ?? []).filter { !own.contains($0) })
    }

    package func history(_ query: Control.HistoryQuery) async throws -> Control.History {
        Control.History(jobs: try await store.history(query))
    }

    package func images() async throws -> Control.Images { Control.Images(images: try await store.images()) }

    package func assign(_ parameters: Control.Assign, caller: UInt32) async throws
        -> AsyncThrowingStream<Control.Changed, any Error>
    {
        if let profile = parameters.profile {
            return try await assignProfile(profile, to: parameters.slots, caller: caller)
        }
        let assignment = try await assignment(named: parameters.image ?? "")
        let changed = try await change(parameters.slots, .assign(assignment), caller: caller)
        return AsyncThrowingStream { continuation in
            continuation.yield(changed)
            continuation.finish()
        }
    }

    package func unassign(slots: [String], caller: UInt32) async throws -> Control.Changed {
        try await change(slots, .unassign, caller: caller)
    }

    package func arm(slots: [String], caller: UInt32) async throws -> Control.Changed {
        try await change(slots, .arm, caller: caller)
    }

    package func disarm(slots: [String], caller: UInt32) async throws -> Control.Changed {
        try await change(slots, .disarm, caller: caller, allWhenEmpty: true)
    }

    package func flash(_ parameters: Control.Flash, caller: UInt32) async throws -> Control.Begun {
        var other: Assignment?
        if let image = parameters.image { other = try await assignment(named: image) }
        // One card, named: no glob writes cards that are in already.
        let runner = try runner(named: parameters.slot)
        let machine = try await runner.perform(.flash(other, isDryRun: parameters.isDryRun), caller: caller)
        guard case .running(let running) = machine.activity else {
            throw StationError("internal_error", "no job began in \(machine.slot.name), and nothing said why")
        }
        return Control.Begun(slot: machine.slot.name, job: running.start.id)
    }

    package func cancel(slots: [String], caller: UInt32) async throws -> Control.Changed {
        try await change(slots, .cancel, caller: caller, passingOver: "no_job")
    }

    package func identify(_ parameters: Control.Identify, caller: UInt32) async throws -> Control.Identified {
        let slot = try runner(named: parameters.slot).current.slot.name
        guard let lights else { throw StationError("station_starting", "the station is not up yet") }
        return Control.Identified(
            lights: try await lights.identify(slot, seconds: Double(parameters.seconds ?? 10)))
    }

    package func reload(caller: UInt32) async throws { try await reload() }

    package func snapshotStore(into file: Descriptor) async throws -> StoreSummary {
        try await StoreSnapshot.write(of: setup.databasePath, into: file)
    }

    // MARK: Images

    package func importImage(_ parameters: Control.ImportImage, files: [Descriptor], caller: UInt32) async throws
        -> AsyncThrowingStream<Control.ImportProgress, any Error>
    {
        let name = try ImageName(parameters.name)
        let expected = try parameters.sha256.map { text throws in
            guard let digest = SHA256Digest(text) else {
                throw StationError("sha256_invalid", "sha256 is not 64 lower-case hexadecimal digits")
            }
            return digest
        }
        let conditions = ImportConditions(
            byteLimit: try await buildRoom.room(of: .images), expected: expected,
            isRaw: parameters.isRaw,
            fileName: parameters.fileName, member: parameters.member)
        let sealing = try await sealingBegins()
        let answers = library.perform(.importImage(conditions, companions: parameters.companions), files: files)
        return follow(answers) { answer in
            guard case .imported(let sha256, let byteCount, _, let origin) = answer else { return nil }
            let record = ImageRecord(
                name: name, sha256: sha256, byteCount: byteCount, importedAt: SystemClock.wallSeconds(),
                importedByUserID: caller, origin: origin)
            let unused = try await self.store.addImage(record, replaces: parameters.replaces)
            guard self.images.contains(sha256, byteCount: byteCount) else {
                throw StationError(
                    "image_missing", "the same bytes were removed while they were imported",
                    remedy: "import the image again")
            }
            self.journal.write(.imageImported(record))
            if let unused { await self.noteUnused([unused]) }
            await self.buildRoom.makeRoom()
            return try await self.image(named: name.text)
        } whenEnded: { end in
            await self.sealingEnded(sealing, end)
        }
    }

    package func verifyImage(named text: String) async throws
        -> AsyncThrowingStream<Control.ImportProgress, any Error>
    {
        let record = try await image(named: text)
        let answers = library.perform(.verifyImage(record.sha256, byteCount: record.byteCount))
        return follow(answers) { answer in
            if case .verified = answer { record } else { nil }
        } whenEnded: { _ in
        }
    }

    /// Passes on how far the library is, and the image when it is done.
    /// - Parameter finish: the image that an answer stands for; nil for one that stands for none.
    private func follow(
        _ answers: AsyncThrowingStream<LibraryMessage, any Error>,
        finish: @escaping @Sendable (LibraryMessage) async throws -> ImageRecord?,
        whenEnded: @escaping @Sendable (SealingEnd) async -> Void
    ) -> AsyncThrowingStream<Control.ImportProgress, any Error> {
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Control.ImportProgress.self)
        let task = Task {
            do {
                var meter = ImportMeter()
                // Answers that nobody waits for any more just end.
                var end = SealingEnd.unknown
                for try await answer in answers {
                    if case .progress(let step, let done, let total) = answer {
                        continuation.yield(meter.progress(step, done, total, now: SystemClock.monotonicSeconds()))
                    } else if let image = try await finish(answer) {
                        end = .recorded
                        continuation.yield(meter.end(with: image))
                    }
                }
                await whenEnded(end)
                continuation.finish()
            } catch {
                await whenEnded(SealingEnd(error))
                continuation.finish(throwing: error)
            }
        }
        continuation.onTermination = { _ in task.cancel() }
        return stream
    }

    package func removeImage(named text: String, caller: UInt32) async throws {
        let record = try await image(named: text)
        let unused = try await store.removeImage(named: record.name, callerUserID: caller)
        journal.write(.imageRemoved(record.name, record.sha256, callerUserID: caller))
        if let unused { noteUnused([unused]) }
        try await removeUnusedImages()
    }

    private func image(named text: String) async throws -> ImageRecord {
        let name = try ImageName(text)
        if let record = try await store.image(named: name) { return record }
        let near = text.nearest(in: try await store.images().map(\.name.text))
        throw StationError(
            "image_unknown", "there is no image \(name)",
            remedy: near.map { "did you mean \($0)?" } ?? "stationctl image list; stationctl image import FILE")
    }

    private func assignment(named text: String) async throws -> Assignment {
        let record = try await image(named: text)
        guard images.contains(record.sha256, byteCount: record.byteCount) else {
            throw StationError(
                "image_missing", "the bytes of \(record.name) are not in the library",
                remedy: Reason.imageMissing.remedy)
        }
        return Assignment(image: record.name, sha256: record.sha256, byteCount: record.byteCount)
    }

    // MARK: Slots

    /// - Parameter passingOver: the code of an error that keeps the other slots from nothing; thrown where no slot is left.
    private func change(
        _ patterns: [String], _ command: SlotMachine.Command, caller: UInt32, allWhenEmpty: Bool = false,
        passingOver code: String? = nil
    ) async throws -> Control.Changed {
        var changed = Control.Changed(slots: [])
        var passedOver: StationError?
        for runner in try find(patterns, allWhenEmpty: allWhenEmpty) {
            do {
                let machine = try await runner.perform(command, caller: caller)
                changed.slots.append(machine.slot.name)
                if machine.device?.hasMedium == true { changed.withCardIn.append(machine.slot.name) }
            } catch let error as StationError where error.code == code {
                passedOver = passedOver ?? error
            }
        }
        if changed.slots.isEmpty, let passedOver { throw passedOver }
        return changed
    }

    /// - Throws: `slot_unknown`, for a glob too.
    private func runner(named text: String) throws(StationError) -> SlotRunner {
        if let runner = (try? SlotName(text)).flatMap({ runners[$0] }) { return runner }
        throw unknownSlot(text)
    }

    private func unknownSlot(_ text: String) -> StationError {
        StationError(
            "slot_unknown", "there is no slot \(text.printable(limit: 40))",
            remedy: text.nearest(in: runners.keys.sorted().map(\.text)).map { "did you mean \($0)?" }
                ?? "stationctl slot list; sudo stationctl slot learn NAME")
    }

    /// The slots that names and globs mean, in their natural order.
    /// - Throws: `slot_unknown` for a pattern that means none.
    func find(_ patterns: [String], allWhenEmpty: Bool) throws(StationError) -> [SlotRunner] {
        let names = runners.keys.sorted()
        var found: [SlotName] = patterns.isEmpty && allWhenEmpty ? names : []
        for pattern in patterns {
            let matches = names.filter { $0.text.matches(glob: pattern) }
            guard !matches.isEmpty else { throw unknownSlot(pattern) }
            found += matches.filter { !found.contains($0) }
        }
        guard !found.isEmpty else {
            throw StationError("slot_unknown", "no slot is named", remedy: "name slots, or globs such as 'slot*'")
        }
        return found.compactMap { runners[$0] }
    }
}

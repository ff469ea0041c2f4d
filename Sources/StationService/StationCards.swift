package import StationCore
import StationLinux

/// Cards that are known, slots that are conspicuous, and a look at the card that is in.
extension Station {
    package func cards(_ query: Control.CardQuery) async throws -> Control.Cards {
        Control.Cards(cards: try await store.cards(query))
    }

    package func forgiveCard(_ reference: String, caller: UInt32) async throws -> Control.Card {
        let record = try await store.forgiveCard(reference, callerUserID: caller)
        journal.write(.cardForgiven(record, callerUserID: caller))
        for runner in runners.values {
            let machine = runner.current
            guard let token = machine.token, machine.cardRecord?.card == record.card else { continue }
            runner.post(.recalled(token, nil, record))
        }
        return Control.Card(card: record)
    }

    package func statistics() async throws -> Control.Statistics {
        Control.Statistics(slots: try await store.statistics(of: runners.keys.sorted()))
    }

    /// Looks at the statistics again, tells the slots what is usual, and tells the journal of a slot that has become conspicuous.
    /// - Parameter isQuiet: at the start, when what is so was so before.
    func reviewStatistics(isQuiet: Bool = false) async {
        do {
            let statistics = try await store.statistics(of: runners.keys.sorted())
            for one in statistics { runners[one.slot]?.post(.usualSpeed(one.usualBytesPerSecond)) }
            let places = runners.mapValues { $0.current.slot.place }
            let notes = SlotStatistics.notes(statistics, places: places)
            for (slot, found) in notes where !isQuiet {
                for note in found where !(slotNotes[slot] ?? []).contains(where: { $0.code == note.code }) {
                    if let entry = JournalEntry.slotConspicuous(slot, note) { journal.write(entry) }
                }
            }
            slotNotes = notes
        } catch {
            journal.write(.storeProblem(error))
        }
    }

    // MARK: A look at a card

    package func inspect(slot: String) async throws -> AsyncThrowingStream<Control.InspectProgress, any Error> {
        let runner = try find([slot], allWhenEmpty: false)[0]
        let (stream, continuation) = AsyncThrowingStream.makeStream(of: Control.InspectProgress.self)
        let task = Task {
            do {
                let inspection = try await look(runner, continuation)
                continuation.yield(Control.InspectProgress(inspection: inspection))
                continuation.finish()
            } catch {
                continuation.finish(throwing: error)
            }
        }
        continuation.onTermination = { _ in task.cancel() }
        return stream
    }

    /// First what is on the card; then, when that may have been written here, every byte of it.
    private func look(
        _ runner: SlotRunner, _ continuation: AsyncThrowingStream<Control.InspectProgress, any Error>.Continuation
    ) async throws -> CardInspection {
        let machine = runner.current
        let (device, token) = try machine.inspectable(nil)
        var contents = try await contents(runner, token, [], continuation)
        let traits = CardTraits(
            cardID: device.cardID ?? contents.cardID, marker: contents.marker?.job)
        var present: JobID?
        if case .latched(let finished) = machine.activity { present = finished.start.id }
        let writings = try await store.writings(
            head: contents.headSHA256, card: traits.cardKey, present: present)
        if !writings.isEmpty {
            contents = try await self.contents(runner, token, writings, continuation)
        }
        var markedBy: JobRecord?
        if let marker = contents.marker { markedBy = try await store.job(marker.job) }
        return CardInspection(
            slot: machine.slot.name, contents: contents, writings: writings, markedBy: markedBy,
            memory: try await store.recall(traits))
    }

    private func contents(
        _ runner: SlotRunner, _ token: InsertionToken, _ writings: [CardInspection.Writing],
        _ continuation: AsyncThrowingStream<Control.InspectProgress, any Error>.Continuation
    ) async throws -> CardContents {
        let candidates = writings.map { writing in
            let job = writing.job
            // An image that is no longer in the library leaves its SHA-256 to go by.
            let image = try? images.open(job.imageSHA256, byteCount: job.imageByteCount)
            return (
                InspectionRequest.Candidate(
                    sha256: job.imageSHA256, byteCount: job.imageByteCount, hasImage: image != nil), image
            )
        }
        for try await message in runner.inspect(token, candidates: candidates) {
            switch message {
            case .progress(let progress):
                continuation.yield(
                    Control.InspectProgress(bytesDone: progress.phaseBytesDone, bytesTotal: progress.phaseBytesTotal))
            case .inspected(let contents):
                guard let reason = contents.refusal else { return contents }
                let slot = runner.current.slot.name
                let detail = contents.detail.isEmpty ? "" : " (\(contents.detail))"
                throw StationError(
                    reason.rawValue, "\(slot): \(reason.explanation)\(detail)",
                    remedy: reason.remedy(slot: slot, device: runner.current.device?.name ?? "DISK"))
            case .recognised, .held, .readRate, .ended: break
            }
        }
        try Task.checkCancellation()
        throw StationError("internal_error", "the writer ended without an answer")
    }
}

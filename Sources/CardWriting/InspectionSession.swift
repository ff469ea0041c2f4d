import CLinux
import Digests
import Glibc
import StationCore
import StationLinux
import Synchronization

extension WriterSession {
    /// Looks at the card: through the whole guard, on descriptors that are open for reading only, with the same doors closed.
    /// Blocks. After it the process can open no file any more.
    /// - Parameter images: those of the candidates that have one, in their order.
    /// - Returns: true when an answer was delivered.
    func inspect(_ request: InspectionRequest, _ images: [Descriptor]) -> Bool {
        guard send(.progress(JobProgress(phase: .guarding))) else { return false }
        let control = JobControl()
        let sources: [ContentSource?]
        do {
            sources = try Self.sources(request, images)
        } catch {
            return refuse(.contentInvalid, "\(error)")
        }
        guard let digest = request.candidates.first?.sha256 ?? SHA256Hasher().finish() else {
            return refuse(.internalError, "OpenSSL has no SHA-256")
        }
        // What the guard checks of a content holds for any: there is none to be written.
        let job = JobRequest(
            jobID: JobID(), disk: request.disk, deviceSequence: request.deviceSequence,
            content: Content(byteCount: 1, sha256: digest), isDryRun: true)
        let opened = attempt(control) { () throws(Refusal) in
            let card = try cardGuard.hold(job)
            // As the guard's own look for labels, this one is before the doors close: libblkid asks for more than they let
            // through.
            let device = try cardGuard.openForReading(card)
            return OpenCard(card: card, device: device, contents: CardInspector.contents(of: card, device))
        }
        switch opened {
        case .success(let open)?: return inspect(open, request, sources, control)
        case .failure(let refusal)?: return refuse(refusal.reason, refusal.detail)
        case nil: return false
        }
    }

    private struct OpenCard: Sendable {
        var card: HeldCard
        var device: BlockDevice
        var contents: CardContents
    }

    private func inspect(
        _ open: OpenCard, _ request: InspectionRequest, _ sources: [ContentSource?], _ control: JobControl
    ) -> Bool {
        // OpenSSL reads its configuration at first use; that must be behind us when no file can be opened.
        _ = SHA256Hasher().finish()
        let finished = Descriptor(owning: station_eventfd())
        do {
            WriterSession.sayIfOpen(try Sandbox.closeFiles())
        } catch {
            return refuse(.internalError, "\(error)")
        }
        let inspector = CardInspector(
            card: open.card, device: open.device, candidates: request.candidates, sources: sources, control: control)
        let outcome = Mutex<CardContents?>(nil)
        converse(control, finished) {
            let contents = inspector.run(open.contents)
            outcome.withLock { $0 = contents }
        }
        guard control.stopCause == nil, let contents = outcome.withLock({ $0 }) else { return false }
        return send(.inspected(contents))
    }

    private func refuse(_ reason: Reason, _ detail: String) -> Bool {
        var contents = CardContents()
        contents.refusal = reason
        contents.detail = detail.printable()
        return send(.inspected(contents))
    }

    /// - Throws: `content_invalid`.
    private static func sources(
        _ request: InspectionRequest, _ images: [Descriptor]
    ) throws(StationError) -> [ContentSource?] {
        guard request.version == JobRequest.currentVersion else {
            throw StationError("content_invalid", "version \(request.version) of the protocol is not known here")
        }
        guard request.candidates.count <= InspectionRequest.candidateLimit,
            request.candidates.count(where: \.hasImage) == images.count
        else { throw StationError("content_invalid", "candidates and images do not belong together") }
        var left = images[...]
        return try request.candidates.map { candidate throws(StationError) in
            let content = Content(byteCount: candidate.byteCount, sha256: candidate.sha256)
            try content.validate()
            guard candidate.hasImage, let image = left.popFirst() else { return nil }
            return try ContentSource(content: content, image: image)
        }
    }
}

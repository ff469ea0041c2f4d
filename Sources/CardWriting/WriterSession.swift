import CLinux
import Digests
import FoundationEssentials
import Glibc
import StationCore
package import StationLinux
import Synchronization

/// One connection of the station to a writer: a request comes in, the job is done, the verdict goes out.
package struct WriterSession: Sendable {
    /// How often the station hears how far the job is, in milliseconds.
    private static let progressInterval: Int32 = 250
    /// How long a stopped job may take to put the marker back before the process ends, in seconds.
    private static let stopPatience = 0.8

    let socket: LocalSocket
    let cardGuard: Guard
    private let checks: Set<Check>
    private let settings: CardJob.Settings

    package init(
        socket: LocalSocket, cardGuard: Guard, checks: Set<Check> = .all,
        settings: CardJob.Settings = CardJob.Settings()
    ) {
        self.socket = socket
        self.cardGuard = cardGuard
        self.checks = checks
        self.settings = settings
    }

    /// Serves the connection to its end. Blocks. After it the process can open no file any more.
    /// - Returns: true when a verdict was delivered.
    package func run() -> Bool {
        switch receiveRequest() {
        case .job(let request, let source)?: return perform(request, source)
        case .inspection(let request, let images)?: return inspect(request, images)
        case nil: return false
        }
    }

    private func perform(_ request: JobRequest, _ source: ContentSource) -> Bool {
        // The first word, so that the station knows at once that somebody is there.
        guard send(.progress(JobProgress(phase: .guarding))) else { return false }
        let control = JobControl()
        let began = SystemClock.monotonicSeconds()
        let card: HeldCard
        switch attempt(control, { () throws(Refusal) in try cardGuard.hold(request) }) {
        case .success(let held)?: card = held
        case .failure(let refusal)?:
            var report = JobReport(.refused(refusal.reason), detail: refusal.detail.printable())
            report.guardSeconds = SystemClock.monotonicSeconds() - began
            return deliver(report)
        case nil: return false
        }
        let traits = CardTraits(cardID: card.record.cardID, marker: card.marker?.job)
        let mayProceed = traits.isKnowable && control.stopCause == nil ? ask(traits, control) : true
        let guardSeconds = SystemClock.monotonicSeconds() - began
        switch control.stopCause {
        case .interrupt: return false
        case .cancel: return deliver(report(.cancelled, "", card, guardSeconds: guardSeconds))
        case nil: break
        }
        guard mayProceed, !request.isDryRun else {
            let reason: Reason = mayProceed ? .dryRun : .cardSuspect
            var report = report(.refused(reason), "", card, guardSeconds: guardSeconds)
            // It stays as it is, and must be known again when contact is lost for a moment.
            report.headSHA256 = card.headSHA256
            return deliver(report)
        }
        let device: BlockDevice
        switch attempt(control, { () throws(Refusal) in try cardGuard.openForWriting(card) }) {
        case .success(let opened)?: device = opened
        case .failure(let refusal)?:
            return deliver(report(.refused(refusal.reason), refusal.detail, card, guardSeconds: guardSeconds))
        case nil: return false
        }
        // OpenSSL reads its configuration at first use; that must be behind us when no file can be opened.
        _ = SHA256Hasher().finish()
        let finished = Descriptor(owning: station_eventfd())
        do {
            Self.sayIfOpen(try Sandbox.closeFiles())
        } catch {
            return deliver(report(.refused(.internalError), "\(error)", card, guardSeconds: guardSeconds))
        }
        guard send(.held) else { return false }
        return perform(request, source, card, device, guardSeconds: guardSeconds, control, finished)
    }

    /// A kernel that lacks such a door is no reason to refuse a card: the unit's own limits stand. But the journal is told.
    static func sayIfOpen(_ missing: [String]) {
        guard !missing.isEmpty else { return }
        var words = Array("station-writer: this kernel has no \(missing.joined(separator: ", ")); see SAFETY.md\n".utf8)
        _ = words.withUnsafeMutableBytes { write(2, $0.baseAddress, $0.count) }
    }

    /// Asks something of the guard while another thread talks with the station: a guard that hangs on the card is silent, as
    /// a request that hangs is. Nil when nothing came of it.
    func attempt<Value: Sendable>(
        _ control: JobControl, _ body: @escaping @Sendable () throws(Refusal) -> Value
    ) -> Result<Value, Refusal>? {
        let outcome = Mutex<Result<Value, Refusal>?>(nil)
        converse(control) {
            control.requestBegins()
            let result: Result<Value, Refusal>
            do throws(Refusal) {
                result = .success(try body())
            } catch {
                result = .failure(error)
            }
            control.requestEnds(bytes: 0)
            outcome.withLock { $0 = result }
        }
        return outcome.withLock { $0 }
    }

    /// Tells the station by what it may know the card and waits for its answer. False also when the job is stopped meanwhile.
    private func ask(_ traits: CardTraits, _ control: JobControl) -> Bool {
        guard send(.recognised(traits)) else {
            control.stop(.interrupt)
            return false
        }
        while control.stopCause == nil {
            if let answer = control.mayProceed { return answer }
            var polled = pollfd(fd: socket.descriptor.number, events: Int16(POLLIN), revents: 0)
            _ = poll(&polled, 1, Self.progressInterval)
            let isHeard = polled.revents == 0 || hear(control)
            if !isHeard || !send(.progress(control.progress())) { control.stop(.interrupt) }
        }
        return false
    }

    private func perform(
        _ request: JobRequest, _ source: ContentSource, _ card: HeldCard, _ device: BlockDevice, guardSeconds: Double,
        _ control: JobControl, _ finished: Descriptor
    ) -> Bool {
        var settings = settings
        // What it does not say is no reason to do without its card.
        if let (largest, optimal) = try? device.requestByteCounts() { settings.fit(largest: largest, optimal: optimal) }
        let job = CardJob(
            id: request.jobID, medium: device, identity: card.identity, sectorByteCount: card.sectorByteCount,
            source: source, mode: request.mayUpdate ? card.slot.mode : .full, wipe: card.slot.wipe,
            oldPartitions: card.signatures.partitions,
            checks: checks,
            settings: settings, control: control)
        let outcome = Mutex<JobReport?>(nil)
        converse(control, finished) {
            let report = job.run()
            outcome.withLock { $0 = report }
        }
        guard var report = outcome.withLock({ $0 }) else { return false }
        fill(&report, card, guardSeconds: guardSeconds)
        return deliver(report)
    }

    /// Does work that blocks on one thread while another talks with the station. Returns when the work is done.
    func converse(
        _ control: JobControl, _ finished: Descriptor = Descriptor(owning: station_eventfd()),
        during work: @escaping @Sendable () -> Void
    ) {
        // The descriptor only hastens it: a process that has none to spare must see the end, too.
        let isOver = Mutex(false)
        WorkerThreads.run(2, mustBeParallel: true) { index in
            if index == 0 {
                work()
                isOver.withLock { $0 = true }
                var one: UInt64 = 1
                _ = try? withUnsafeBytes(of: &one) { try finished.write(all: $0) }
            } else {
                converse(control, finished: finished) { isOver.withLock { $0 } }
            }
        }
    }

    /// Tells the station how far the job is and hears what it says, until the job is finished.
    private func converse(_ control: JobControl, finished: Descriptor, isOver: () -> Bool) {
        var hungUpAt: Double?
        while true {
            let watched = hungUpAt == nil ? socket.descriptor.number : -1
            var polled = [
                pollfd(fd: watched, events: Int16(POLLIN), revents: 0),
                pollfd(fd: finished.number, events: Int16(POLLIN), revents: 0),
                pollfd(fd: control.news.number, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&polled, nfds_t(polled.count), hungUpAt == nil ? Self.progressInterval : 50)
            let isFinished = isOver()
            var tidings = control.tidings().map(WriterMessage.progress)
            if let rate = control.takeReadRate() { tidings.append(.readRate(rate)) }
            if isFinished {
                for message in tidings { _ = send(message) }
                return
            }
            if polled[0].revents != 0, !hear(control) { hungUpAt = SystemClock.monotonicSeconds() }
            if let hungUpAt {
                control.stop(.interrupt)
                // A request that hangs in the kernel is not waited for: the station is gone, and so is this process.
                if SystemClock.monotonicSeconds() - hungUpAt > Self.stopPatience { _exit(3) }
            } else if !tidings.allSatisfy(send) {
                hungUpAt = SystemClock.monotonicSeconds()
            }
        }
    }

    /// Takes one message; false when the station has hung up or says what no station says.
    private func hear(_ control: JobControl) -> Bool {
        let message: ReceivedMessage
        do {
            message = try socket.receive(limit: 4096, waits: false)
        } catch {
            return error.number == EAGAIN
        }
        guard !message.bytes.isEmpty,
            let command = try? JSONDecoder().decode(WriterCommand.self, from: Data(message.bytes))
        else { return false }
        switch command {
        case .cancel: control.stop(.cancel)
        case .proceed: control.answer(mayProceed: true)
        case .refuse: control.answer(mayProceed: false)
        }
        return true
    }

    /// What the station asks for.
    private enum Asked {
        case job(JobRequest, ContentSource)
        case inspection(InspectionRequest, [Descriptor])
    }

    private func receiveRequest() -> Asked? {
        guard let message = try? socket.receive(limit: JobRequest.messageLimit), !message.bytes.isEmpty else {
            return nil
        }
        let data = Data(message.bytes)
        if !message.isTruncated, let request = try? JSONDecoder().decode(InspectionRequest.self, from: data) {
            return .inspection(request, message.descriptors)
        }
        do {
            guard !message.isTruncated, message.descriptors.count == 1 else {
                throw StationError("content_invalid", "one whole message with one descriptor is expected")
            }
            let request = try JSONDecoder().decode(JobRequest.self, from: data)
            guard request.version == JobRequest.currentVersion else {
                throw StationError("content_invalid", "version \(request.version) of the protocol is not known here")
            }
            return .job(request, try ContentSource(content: request.content, image: message.descriptors[0]))
        } catch {
            _ = deliver(JobReport(.refused(.contentInvalid), detail: "\(error)".printable()))
            return nil
        }
    }

    private func report(_ verdict: Verdict, _ detail: String, _ card: HeldCard, guardSeconds: Double) -> JobReport {
        var report = JobReport(verdict, detail: detail.printable())
        fill(&report, card, guardSeconds: guardSeconds)
        return report
    }

    private func fill(_ report: inout JobReport, _ card: HeldCard, guardSeconds: Double) {
        report.guardSeconds = guardSeconds
        report.totalSeconds += guardSeconds
        report.cardByteCount = card.identity.byteCount
        report.sectorByteCount = card.sectorByteCount
        report.cardID = card.record.cardID
        report.foundMarker = card.marker?.job
        report.foundMarkerFailed = card.marker?.state == .failed
    }

    private func deliver(_ report: JobReport) -> Bool { send(.ended(report)) }

    func send(_ message: WriterMessage) -> Bool {
        guard let bytes = try? JSONEncoder().encode(message) else { return false }
        return (try? socket.send(bytes)) != nil
    }
}

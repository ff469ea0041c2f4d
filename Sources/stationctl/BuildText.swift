import StationCore

/// How far a download or a build is, in one line that is redrawn; its log, where somebody wants it.
struct BuildProgressLine {
    private let console: Console
    private let isShown: Bool
    private let showsLog: Bool

    /// - Parameter showsLog: prints the log as it comes, and no line that is redrawn.
    init(_ context: Context, showsLog: Bool = false) {
        console = context.console
        self.showsLog = showsLog && !context.isJSON
        isShown = context.console.isTerminal && !context.isJSON && !showsLog
    }

    func show(_ progress: Control.BuildProgress) {
        if showsLog, let log = progress.log { console.text(log) }
        guard isShown else { return }
        console.redraw(Self.text(progress).cut(to: console.size.columns - 1))
    }

    func clear() { if isShown { console.redraw("") } }

    private static func text(_ progress: Control.BuildProgress) -> String {
        if progress.step == .building { return "building  \(progress.bytesDone) lines of log" }
        if [.resolving, .examining, .preparing].contains(progress.step) { return "\(progress.step.rawValue) …" }
        var text = Quantity.bytes(progress.bytesDone)
        if let total = progress.bytesTotal, total > 0 {
            let share = Double(progress.bytesDone) / Double(total)
            text = "\(WatchView.bar(share, width: 24)) \(Int(min(1, share) * 100)) %  \(text)"
        }
        if let rate = progress.bytesPerSecond { text += "  \(Quantity.rate(bytesPerSecond: rate))" }
        if let left = progress.secondsLeft { text += "  \(SlotText.countdown(left)) left" }
        return "\(progress.step.rawValue)  \(text)"
    }
}

/// Words for builds.
enum BuildText {
    static func time(_ seconds: Double) -> String { String(LocalTime.text(seconds).dropLast(3)) }

    static func lines(_ build: BuildRecord) -> [String] {
        var lines = [
            "build     \(build.id)",
            "profile   \(build.profileID.printable(limit: 128)), version \(build.profileVersion)",
            "builder   \(build.release)/\(build.target)/\(build.subtarget), sha256 \(build.builderSHA256.short)…",
            "state     \(build.state.rawValue)"
                + (build.state == .succeeded && !build.isKept ? ", its files are gone" : ""),
            "started   \(LocalTime.text(build.startedAt))"
                + (build.endedAt.map { ", took \(Int(max(0, $0 - build.startedAt))) s" } ?? ""),
        ]
        if let product = build.product {
            lines.append(
                "made      \(product.artifacts.count) files, \(product.packageCount) packages, \(product.versionCode.printable(limit: 60))"
            )
            if let card = product.card {
                lines.append(
                    "card      \(card.artifact.printable(limit: 200)): \(Quantity.bytes(card.byteCount)), sha256 \(card.sha256.short)…"
                )
                lines.append("device    BUILD_ID=\(build.id) in /etc/flashing-station-release")
            } else if let refusal = product.cardRefusal {
                lines.append("card      none: \(refusal.message.printable(limit: 300))")
            }
        }
        if let problem = build.problem {
            lines.append("problem   \(problem.code): \(problem.message.printable(limit: 500))")
            if !problem.remedy.isEmpty {
                lines.append(
                    "          \(problem.remedy.replacing("BUILD", with: build.id.short).printable(limit: 500))")
            }
        }
        return lines
    }
}

import StationCore

/// How far the library is with an image, in one line that is redrawn; nothing where nobody looks.
struct ProgressLine {
    private let console: Console
    private let isShown: Bool

    init(_ context: Context) {
        console = context.console
        isShown = context.console.isTerminal && !context.isJSON
    }

    func show(_ progress: Control.ImportProgress) {
        guard isShown else { return }
        console.redraw(text(progress).cut(to: console.size.columns - 1))
    }

    func clear() { if isShown { console.redraw("") } }

    private func text(_ progress: Control.ImportProgress) -> String {
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

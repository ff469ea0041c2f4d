import StationCore

/// One slot in the picture of `display`: its name, a word for what it does, what to do, and as much else as there is room for.
struct WallTile {
    let slot: SlotStatus
    /// Of the tile, in cells.
    let width: Int
    let height: Int
    /// The station is away: how it was, without colours that shout.
    let isStale: Bool
    let console: Console

    private var state: SlotText.State { SlotText.state(slot) }

    /// As many lines as it is high, each as wide as it is.
    var lines: [StyledLine] {
        let inner = content
        let style = ground
        guard isFramed else { return Array((inner + Array(repeating: blank, count: height)).prefix(height)) }
        // On a ground the frame is left out, but takes its room: nothing moves when the state changes.
        let edge = isFilled ? " " : "│"
        let rule = String(repeating: isFilled ? " " : "─", count: width - 2)
        var lines = [StyledLine(isFilled ? " \(rule) " : "┌\(rule)┐", style)]
        for line in (inner + Array(repeating: blank, count: height)).prefix(height - 2) {
            var whole = StyledLine(edge, style)
            whole.add(line)
            whole.add(edge, style)
            lines.append(whole)
        }
        lines.append(StyledLine(isFilled ? " \(rule) " : "└\(rule)┘", style))
        return lines
    }

    // MARK: Words

    private var job: (job: SlotStatus.Job, progress: JobProgress)? {
        guard slot.state == "running", let job = slot.job, let progress = job.progress else { return nil }
        return (job, progress)
    }

    /// What is read from afar.
    private var word: String {
        if let (_, progress) = job { return SlotText.percent(progress).map { "\($0)%" } ?? "RUNNING" }
        if let word = state.word { return word }
        if SlotText.isPreparing(slot) || slot.reason == "preparing" { return "BUILDING" }
        if SlotText.isDryRunDone(slot) { return "DRY RUN" }
        switch slot.signal {
        case .ready: return "READY"
        case .dark where slot.assignment == nil: return "IDLE"
        case .dark: return "DISARMED"
        default: return slot.state.uppercased().printable(limit: 20)
        }
    }

    /// What to do: what the slot's light says, unless there is something to be said that is more to the point.
    private var advice: String {
        let isVerdict = ["failed", "refused"].contains(slot.state) || slot.elsewhere != nil
        if isVerdict, slot.signal != .dark { return state.text }
        return switch slot.signal {
        case .dark: slot.assignment == nil ? "nothing is assigned" : "nothing to do"
        case .ready: "insert a card"
        case .busy: "do not touch"
        case .passed: "take it out"
        case .failed: "set the card aside"
        case .help: "call somebody"
        }
    }

    /// How far a job is, besides the percentage.
    private var pace: String? {
        guard let (job, progress) = job else { return nil }
        let left = job.secondsLeft.map { ", \(Quantity.about(seconds: $0)) left" } ?? ""
        return progress.phase.title + left
    }

    /// Why, and whatever else there is to know.
    private var details: [String] {
        var lines = SlotText.notes(slot)
        if state.word != nil, state.text != advice { lines.insert(state.text, at: 0) }
        let rate = job?.job.bytesPerSecond.map { Quantity.rate(bytesPerSecond: $0) }
        let card = slot.card.map { Quantity.bytes($0.byteCount) }
        let about = [SlotText.image(slot).cutMiddle(to: max(8, innerWidth - 24), mark: console.cutMark), card, rate]
        if slot.assignment != nil || slot.job != nil { lines.append(about.compactMap { $0 }.joined(separator: " · ")) }
        return lines
    }

    // MARK: Colours

    /// A word in capitals, or a job, has a ground of its colour, as in `watch`.
    private var isFilled: Bool { !isStale && (state.word != nil || job != nil) }

    private var ground: Console.Style {
        if isStale { return .faint }
        if job != nil { return .activeTile }
        guard state.word != nil else { return state.style }
        return switch state.style {
        case .good: .goodTile
        case .bad: .badTile
        default: .attentionTile
        }
    }

    // MARK: Room

    private var isFramed: Bool { width >= 24 && height >= 12 }
    private var innerWidth: Int { width - (isFramed ? 2 : 0) }
    private var innerHeight: Int { height - (isFramed ? 2 : 0) }
    private var blank: StyledLine { StyledLine(String(repeating: " ", count: innerWidth), ground) }

    private func row(_ text: String, _ style: Console.Style? = nil) -> StyledLine {
        let shown = text.count <= innerWidth ? text : text.cut(to: innerWidth, mark: console.cutMark)
        return StyledLine(shown, style ?? ground).centred(in: innerWidth, style: ground)
    }

    /// Done in full blocks, the rest in light ones; a margin on either side.
    private func bar(_ progress: JobProgress) -> StyledLine {
        let margin = innerWidth >= 12 ? 2 : 0
        let room = innerWidth - 2 * margin
        let share = progress.bytesTotal > 0 ? min(1, Double(progress.bytesDone) / Double(progress.bytesTotal)) : 0
        let done = Int(share * Double(room))
        let text = String(repeating: "█", count: done) + String(repeating: "░", count: room - done)
        return StyledLine(text, isStale ? .faint : .bar).centred(in: innerWidth, style: ground)
    }

    private var content: [StyledLine] { innerHeight < 5 ? compact : large }

    /// Name and word in one line, then by how much it is needed.
    private var compact: [StyledLine] {
        let name = slot.name.text.cutMiddle(to: max(6, innerWidth - word.count - 3), mark: console.cutMark)
        let space = max(1, innerWidth - name.count - word.count - 2)
        let first = row(" \(name)\(String(repeating: " ", count: space))\(word) ")
        if let (_, progress) = job { return [first, bar(progress), row(pace ?? ""), row(advice)] }
        return [first, row(advice)] + details.map { row($0) }
    }

    /// Letters as large as there is room for: the word's first, then the name's, then those of what to do.
    private var large: [StyledLine] {
        let all = BlockLetters.sizes(hasHalfBlocks: console.hasHalfBlocks)
        var texts = [slot.name.text, word, advice]
        if let pace { texts.insert(pace, at: 2) }
        // By index in `all`.
        var sizes = Array(repeating: 0, count: texts.count)
        let reserve = job != nil || innerHeight < 7 ? 0 : innerHeight >= 20 ? 3 : innerHeight >= 11 ? 2 : 1
        let barRows = job == nil ? 0 : max(1, innerHeight / 8)
        func fits(_ index: Int, _ size: Int) -> Bool {
            guard let columns = all[size].width(of: texts[index]), columns <= innerWidth - 2 else { return false }
            var sizes = sizes
            sizes[index] = size
            return rowCount(sizes.map { all[$0] }) + barRows + reserve <= innerHeight
        }
        for size in all.indices.dropFirst() {
            if fits(1, size) { sizes[1] = size }
            // The word stands out; the others follow at three quarters and at half of its height.
            let word = max(4, all[sizes[1]].rowCount)
            for (index, share) in [(0, 0.75)] + (2..<texts.count).reversed().map({ ($0, 0.5) }) {
                let limit = Int(Double(word) * share)
                let own = all.indices.prefix(through: size).last { all[$0].rowCount <= limit && fits(index, $0) }
                if let own, own > sizes[index] { sizes[index] = own }
            }
        }
        var blocks = zip(texts, sizes).map { text, size in all[size].lines(text).map { row($0) } }
        if sizes[1] == 0, job == nil, word.count * 2 <= innerWidth {
            blocks[1] = [row(word.map(String.init).joined(separator: " "))]
        }
        if let (_, progress) = job { blocks.insert(Array(repeating: bar(progress), count: barRows), at: 2) }
        var spare = innerHeight - blocks.reduce(0) { $0 + $1.count }
        var notes = details.flatMap { $0.wrapped(to: max(10, innerWidth - 2)) }.map { row($0) }
        notes = Array(notes.prefix(max(0, min(spare, max(reserve, spare - blocks.count)))))
        if !notes.isEmpty { blocks.append(notes) }
        spare -= notes.count
        // What is left goes between them, from the top.
        var lines: [StyledLine] = []
        for (index, block) in blocks.enumerated() {
            let gaps = blocks.count - index
            let share = index == 0 ? spare / (gaps + 1) : (spare + gaps - 1) / gaps
            lines += Array(repeating: blank, count: share)
            spare -= share
            lines += block
        }
        return lines
    }

    /// With an empty row between two that are both in block letters.
    private func rowCount(_ sizes: [BlockLetters]) -> Int {
        var rows = sizes.reduce(0) { $0 + $1.rowCount }
        for (one, other) in zip(sizes, sizes.dropFirst()) where one != .text && other != .text { rows += 1 }
        return rows
    }
}

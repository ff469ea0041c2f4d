import StationCore

/// One slot in the picture of `watch`, in one of four forms.
struct WatchCell {
    let slot: SlotStatus
    let width: Int
    let nameWidth: Int
    /// The station is away: how it was, without colours that shout.
    let isStale: Bool
    let console: Console

    private var mark: String { console.cutMark }
    private var state: SlotText.State { SlotText.state(slot) }

    private func style(_ style: Console.Style) -> Console.Style { isStale ? .faint : style }

    /// The name in its column.
    private var name: StyledLine {
        StyledLine(slot.name.text.cutMiddle(to: nameWidth, mark: mark).padded(to: nameWidth + 2), style(.strong))
    }

    /// Lines of the cell's width at most.
    func lines(height: Int) -> [StyledLine] {
        let lines: [StyledLine] =
            switch height {
            case 5: large
            case 3: [short(hasTail: false), detail, StyledLine()]
            case 2: [short(hasTail: false), detail]
            default: [short(hasTail: true)]
            }
        return lines.map { $0.fitted(to: width, mark: mark) }
    }

    // MARK: One line, or two

    private func short(hasTail: Bool) -> StyledLine {
        var line = name
        if slot.state == "running", let job = slot.job, let progress = job.progress {
            line.add(running(job, progress, room: width - line.width))
            return line
        }
        if let word = state.word {
            line.add(" \(word) ", style(state.wordStyle))
            line.add(" ")
        }
        line.add(state.text, style(state.style))
        // Further to the right, where it is in nobody's way: the image, or why.
        let tail = nameWidth + 2 + 34
        if hasTail, width - tail >= 12 {
            line.pad(to: tail)
            line.add("  " + (notes.isEmpty ? image(room: width - tail - 2) : notes), .faint)
        }
        return line
    }

    /// What to do, and why.
    private var notes: String { SlotText.notes(slot).reversed().joined(separator: "; ") }

    private func image(room: Int) -> String { SlotText.image(slot).cutMiddle(to: room, mark: mark) }

    /// Phase, bar, percentage, rate and time. Each has its place, whatever is known: figures that jump cannot be read.
    private func running(_ job: SlotStatus.Job, _ progress: JobProgress, room: Int) -> StyledLine {
        var line = StyledLine()
        let isNarrow = room < 40
        let phase = isNarrow ? progress.phase.title.cut(to: 12, mark: mark) : progress.phase.title
        line.add(phase.padded(to: isNarrow ? 12 : 16) + " ", style(.active))
        let percent = SlotText.percent(progress).map { "\($0) %" } ?? ""
        var figures = String(repeating: " ", count: max(0, 5 - percent.count)) + percent
        let left = job.secondsLeft.map { "about \(Quantity.about(seconds: $0))" } ?? ""
        let rate = job.bytesPerSecond.map { Quantity.rate(bytesPerSecond: $0) } ?? ""
        if room - line.width >= 5 + 16 { figures += "  " + (isNarrow ? left : left.padded(to: 14)) }
        if room - line.width >= 5 + 18 + 11 { figures += "  " + rate.padded(to: 9) }
        let barWidth = min(40, room - line.width - figures.count - 3)
        if barWidth >= 6 {
            line.add(bar(progress, width: barWidth))
            line.add(" ")
        }
        line.add(figures, style(.plain))
        return line
    }

    /// Image and card, or why and what to do.
    private var detail: StyledLine {
        var line = StyledLine(String(repeating: " ", count: nameWidth + 2))
        line.add(notes.isEmpty ? what : notes, .faint)
        return line
    }

    private var what: String {
        let card = slot.card.map { "\(Quantity.bytes($0.byteCount)) \($0.device.printable(limit: 20))" }
        guard slot.assignment != nil || slot.job != nil else { return "stationctl assign \(slot.name) --image NAME" }
        let room = max(10, width - nameWidth - 2 - (card.map { $0.count + 3 } ?? 0))
        return [image(room: room), card].compactMap { $0 }.joined(separator: " · ")
    }

    // MARK: Five lines

    private var large: [StyledLine] {
        var head = StyledLine(slot.name.text.cutMiddle(to: max(8, width / 2), mark: mark), style(.strong))
        let card = slot.card.map { "  " + Quantity.bytes($0.byteCount) } ?? ""
        let room = width - head.width - card.count - 2
        let image = room >= 8 ? image(room: room) : ""
        head.pad(to: width - image.count - card.count)
        head.add(image + card, .faint)
        if slot.state == "running", let job = slot.job, let progress = job.progress {
            return [
                head, figures(job, progress), bar(progress, width: width), bar(progress, width: width), StyledLine(),
            ]
        }
        guard let word = state.word else {
            return [head, StyledLine("  " + state.text, style(state.style)), StyledLine(), StyledLine(), StyledLine()]
        }
        let spaced = word.map(String.init).joined(separator: " ")
        return [
            head, band(""), band("   \(spaced)   \(state.text)"),
            band(notes.isEmpty ? "" : "   " + notes), StyledLine(),
        ]
    }

    /// A line on a ground of the word's colour, over the whole width.
    private func band(_ text: String) -> StyledLine {
        let shown = text.count < width ? text : text.cut(to: width - 1, mark: mark)
        return StyledLine(shown.padded(to: width), style(state.wordStyle))
    }

    private func figures(_ job: SlotStatus.Job, _ progress: JobProgress) -> StyledLine {
        var line = StyledLine("  " + progress.phase.title.padded(to: 18), style(.active))
        line.add((SlotText.percent(progress).map { "\($0) %" } ?? "").padded(to: 7), style(.strong))
        if let left = job.secondsLeft { line.add("about \(Quantity.about(seconds: left))", style(.plain)) }
        if let rate = job.bytesPerSecond {
            let text = Quantity.rate(bytesPerSecond: rate)
            if line.width + text.count + 2 <= width {
                line.pad(to: width - text.count)
                line.add(text, .faint)
            }
        }
        return line
    }

    /// Done in full blocks, the rest in light ones.
    private func bar(_ progress: JobProgress, width: Int) -> StyledLine {
        let share =
            progress.bytesTotal > 0 ? min(1, Double(progress.bytesDone) / Double(progress.bytesTotal)) : 0
        let done = Int(share * Double(width))
        var line = StyledLine(String(repeating: "█", count: done), style(.active))
        line.add(String(repeating: "░", count: width - done), .faint)
        return line
    }
}

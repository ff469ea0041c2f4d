extension String {
    /// True when every character is one of `0–9 a–f`.
    package var isLowerHexadecimal: Bool {
        utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }

    /// The text as it may be shown in a log or on a terminal: control characters and line breaks become `?`, and what is
    /// longer than `limit` characters is cut.
    ///
    /// Everything that comes from a card, a device or a socket goes through here before anyone sees it.
    package func printable(limit: Int = 256) -> String {
        var result = ""
        var count = 0
        for scalar in unicodeScalars {
            if count == limit {
                result += "…"
                break
            }
            switch scalar.properties.generalCategory {
            case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
                result += "?"
            default: result.unicodeScalars.append(scalar)
            }
            count += 1
        }
        return result
    }

    /// The text without blanks, tabulators and line ends at its two ends.
    package var trimmed: String {
        // Byte by byte: by characters, a thousand lines take half a second.
        let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A }
        guard let first = utf8.firstIndex(where: { !isSpace($0) }), let last = utf8.lastIndex(where: { !isSpace($0) })
        else { return "" }
        return String(self[first..<utf8.index(after: last)])
    }

    /// The words between white space; what stands between two quotation marks is one word. Nil when one mark is alone.
    package var words: [String]? {
        var words: [String] = []
        var word: String?
        var mark: Character?
        for character in self {
            if character == mark {
                mark = nil
            } else if mark == nil, character == "\"" || character == "'" {
                mark = character
                word = word ?? ""
            } else if mark == nil, character == " " || character == "\t" {
                if let word, !word.isEmpty { words.append(word) }
                word = nil
            } else {
                word = (word ?? "") + String(character)
            }
        }
        if let word, !word.isEmpty { words.append(word) }
        return mark == nil ? words : nil
    }

    /// Whether this stands before the other where runs of digits count as numbers: `slot2` before `slot10`.
    package func comparesNaturally(before other: String) -> Bool {
        func parts(_ text: String) -> [(isNumber: Bool, text: String)] {
            var result: [(isNumber: Bool, text: String)] = []
            for character in text {
                let isDigit = character.isASCII && character.isNumber
                if result.last?.isNumber == isDigit {
                    result[result.count - 1].text.append(character)
                } else {
                    result.append((isDigit, String(character)))
                }
            }
            return result
        }
        for (mine, theirs) in zip(parts(self), parts(other)) {
            if mine.isNumber, theirs.isNumber {
                // Of any length: without zeros in front, more digits are more.
                let left = mine.text.drop { $0 == "0" }
                let right = theirs.text.drop { $0 == "0" }
                if left != right { return (left.count, left) < (right.count, right) }
            }
            if mine.text != theirs.text { return mine.text < theirs.text }
        }
        return utf8.count < other.utf8.count
    }

    /// The member of `candidates` nearest to this text, when it is near enough to be worth suggesting.
    package func nearest(in candidates: some Sequence<String>) -> String? {
        var best: (name: String, distance: Int)?
        let length = count
        for candidate in candidates {
            let limit = Swift.max(1, Swift.min(length, candidate.count) / 3)
            // A word that was begun is near, however much of it is missing.
            let isBegun = length >= 3 && candidate.hasPrefix(self)
            // None is nearer than its length is: what somebody sends of a megabyte is not compared letter by letter.
            guard isBegun || abs(length - candidate.count) <= limit else { continue }
            let distance = isBegun ? 1 : lowercased().editDistance(to: candidate.lowercased())
            if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
        }
        return best?.name
    }

    /// The number of insertions, deletions, replacements and exchanges of neighbours that turn one text into the other.
    private func editDistance(to other: String) -> Int {
        let source = Array(self)
        let target = Array(other)
        var earlier: [Int] = []
        var row = Array(0...target.count)
        for line in source.indices {
            var next = [line + 1]
            for column in target.indices {
                var cost = row[column] + (target[column] == source[line] ? 0 : 1)
                cost = Swift.min(cost, next[column] + 1, row[column + 1] + 1)
                if line > 0, column > 0, source[line] == target[column - 1], source[line - 1] == target[column] {
                    cost = Swift.min(cost, earlier[column - 1] + 1)
                }
                next.append(cost)
            }
            (earlier, row) = (row, next)
        }
        return row[target.count]
    }

    /// Whether the text matches a pattern in which `*` stands for any run of Unicode's scalars and `?` for one. By scalars, for there
    /// are some that make one character of themselves and a `*` behind them.
    package func matches(glob pattern: String) -> Bool {
        let text = Array(unicodeScalars)
        let glob = Array(pattern.unicodeScalars)
        var textIndex = 0
        var globIndex = 0
        var retry: (text: Int, glob: Int)?
        while textIndex < text.count {
            if globIndex < glob.count, glob[globIndex] == "*" {
                retry = (textIndex, globIndex)
                globIndex += 1
            } else if globIndex < glob.count, glob[globIndex] == "?" || glob[globIndex] == text[textIndex] {
                textIndex += 1
                globIndex += 1
            } else if let (start, star) = retry {
                retry = (start + 1, star)
                textIndex = start + 1
                globIndex = star + 1
            } else {
                return false
            }
        }
        return glob[globIndex...].allSatisfy { $0 == "*" }
    }
}

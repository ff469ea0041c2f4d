import StationCore

extension FuzzTarget {
    /// Text from anywhere, and the names that it may be.
    static let textTargets = [
        FuzzTarget("printable", lengthLimit: 512, words: ["\u{1B}[2J", "\u{202E}", "\u{2028}", "\u{FEFF}", "e\u{301}"])
        {
            bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            for limit in [0, 1, 40, 256, Int.max] {
                let shown = text.printable(limit: limit)
                try demand(shown.unicodeScalars.allSatisfy(isShowable), "printable() lets a control character through")
                try demand(shown.unicodeScalars.count - 1 <= limit, "printable() is longer than \(limit)")
                try demand(shown.printable(limit: .max) == shown, "what is printable is made so again")
            }
            try demand(text.trimmed.trimmed == text.trimmed, "what is trimmed can be trimmed")
            try demandCSV(text)
        },
        FuzzTarget("matching", lengthLimit: 256, words: ["slot1", "left-*", "??"]) { bytes in
            let parts = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
            let texts = parts.map { String(decoding: $0, as: UTF8.self) }
            let (text, other) = (texts[0], texts.count > 1 ? texts[1] : "")
            try demand(text.matches(glob: text), "a text does not match itself")
            try demand(text.matches(glob: "*") && text.matches(glob: "\(text)*"), "* does not match everything")
            _ = text.matches(glob: other)
            let isBefore = text.comparesNaturally(before: other)
            try demand(!isBefore || !other.comparesNaturally(before: text), "each of two texts stands before the other")
            let near = text.nearest(in: [other, "slot1"])
            try demand(near.map { [other, "slot1"].contains($0) } ?? true, "the nearest is none of the candidates")
            for word in text.words ?? [] { try demand(!word.isEmpty, "a word is empty") }
        },
        FuzzTarget(
            "names", lengthLimit: 300,
            words: [
                "slot1", "led:", "gpio:", ":active-low", "usb 480 port 2.3.1 lun 0 at pci0000:00/0000:00:04.0",
                "mmc at ",
                " luns ", "0bda:0326 luns 1", ".0.auto", "24.10.2", "512M",
            ]
        ) { bytes in
            let text = String(decoding: bytes, as: UTF8.self)
            try demandCoded(SlotName.self, text)
            try demandCoded(ImageName.self, text)
            try demandCoded(JobID.self, text)
            try demandCoded(BuildID.self, text)
            try demandCoded(SHA256Digest.self, text)
            try demandCoded(Light.self, text)
            try demandCoded(Place.self, text)
            try demandCoded(Reader.self, text)
            let parts = text.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            if parts.count == 3,
                let triple = try accepted({
                    try BuilderTriple(release: parts[0], target: parts[1], subtarget: parts[2])
                })
            {
                try demandInside(triple.serverPath)
                try demandInside(triple.archiveStem)
            }
            if let name = try? SlotName(text).text { try demandInside(name) }
            if let name = try? ImageName(text).text { try demandInside(name) }
            _ = Quantity.parseBytes(text)
        },
        FuzzTarget("quantities", lengthLimit: 16) { bytes in
            let bits = bytes.prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            let number = Double(bitPattern: bits)
            for text in [
                Quantity.bytes(bits), Quantity.rate(bytesPerSecond: number), Quantity.seconds(number),
                Quantity.about(seconds: number), Quantity.fixed(number, digits: Int(bits % 12)),
            ] {
                try demand(!text.isEmpty && text.utf8.count < 40, "a quantity is shown as “\(text)”")
            }
            _ = CalendarDay(secondsSince1970: number)?.description
        },
    ]
}

/// What is accepted is the same when its own text is read.
private func demandCoded<Value: TextCoded & Equatable>(_: Value.Type, _ text: String) throws {
    guard let value = try accepted({ try Value(coded: text) }) else { return }
    let again = try? Value(coded: value.description)
    try demand(again == value, "\(Value.self) “\(text.printable())” is another when it is read again")
}

/// By its bytes, as the kernel takes a path: relative, and through no `..`.
func demandInside(_ path: String) throws { try demandInside(Array(path.utf8)) }

func demandInside(_ path: [UInt8]) throws {
    let parts = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let shown = String(decoding: path, as: UTF8.self).printable()
    try demand(!path.isEmpty && path[0] != UInt8(ascii: "/"), "“\(shown)” is no relative path")
    try demand(!parts.contains { $0.elementsEqual("..".utf8) }, "“\(shown)” leads out")
    try demand(!path.contains(0), "“\(shown.printable())” has a zero in it")
}

/// A record of CSV, read as RFC 4180 says, has the text in it, behind an apostrophe where a spreadsheet would carry it out.
private func demandCSV(_ text: String) throws {
    let record = Array(CSV.record([.text(text), .count(7)]).utf8)
    var fields: [[UInt8]] = [[]]
    var isQuoted = false
    var index = 0
    while index < record.count {
        let byte = record[index]
        if byte == UInt8(ascii: "\"") {
            if isQuoted, index + 1 < record.count, record[index + 1] == byte {
                fields[fields.count - 1].append(byte)
                index += 1
            } else {
                isQuoted.toggle()
            }
        } else if byte == UInt8(ascii: ","), !isQuoted {
            fields.append([])
        } else if byte == 0x0D, !isQuoted {
            break
        } else {
            fields[fields.count - 1].append(byte)
        }
        index += 1
    }
    try demand(fields.count == 2 && fields[1] == [0x37], "a record of CSV has \(fields.count) fields instead of 2")
    let bytes = Array(text.utf8)
    try demand(
        fields[0] == bytes || fields[0] == [UInt8(ascii: "'")] + bytes, "a record of CSV has another text in it")
    let first = fields[0].first { $0 != 0x20 }
    try demand(first.map { !"=+-@\t\r\n|%".utf8.contains($0) } ?? true, "a record of CSV has a formula in it")
}

import StationCore
import StationTestSupport
import Testing

@Suite("Text")
struct TextTests {
    @Test(
        "is shown without what would move a terminal's cursor or turn the writing round",
        arguments: [
            ("plain", "plain"), ("a\nb\r\tc", "a?b??c"), ("\u{1b}[2J", "?[2J"), ("\u{9b}31m", "?31m"), ("\u{7f}", "?"),
            ("\0", "?"),
            ("\u{202E}evil\u{202C}", "?evil?"), ("\u{2066}x\u{2069}", "?x?"), ("\u{200B}\u{FEFF}\u{AD}", "???"),
            ("\u{2028}\u{2029}", "??"), ("\u{E000}", "?"), ("\u{10FFFF}", "?"), ("Grüße 日本 🙂", "Grüße 日本 🙂"), ("", ""),
        ])
    func printable(text: String, shown: String) {
        #expect(text.printable() == shown)
    }

    @Test("is cut where it is too long", arguments: [0, 1, 5, 256])
    func cut(limit: Int) {
        let text = String(repeating: "x", count: limit)
        #expect(text.printable(limit: limit) == text)
        #expect((text + "y").printable(limit: limit) == text + "…")
    }

    @Test("of any bytes is printable", arguments: 0..<20)
    func printableGarbage(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let text = String(decoding: random.bytes(2000), as: UTF8.self).printable(limit: 3000)
        #expect(text.unicodeScalars.allSatisfy { $0.value >= 32 && !(0x7F...0x9F).contains($0.value) })
    }

    @Test(
        "is trimmed at its ends",
        arguments: [
            (" a b ", "a b"), ("\r\n\ta\r\n", "a"), ("   ", ""), ("", ""), ("\u{A0}a", "\u{A0}a"), (" é ", "é"),
            (" \u{301}", "\u{301}"),
        ])
    func trimmed(text: String, result: String) {
        #expect(text.trimmed == result)
    }

    @Test("is ordered by its numbers")
    func naturalOrder() {
        let sorted = [
            "", "2", "10", "a", "a1b", "a1c", "a2", "a10", "a10b", "slot01", "slot1", "slot2", "slot2-x", "slot10",
        ]
        var random = SeededRandom(seed: 5)
        for _ in 0..<20 {
            #expect(sorted.shuffled(using: &random).sorted { $0.comparesNaturally(before: $1) } == sorted)
        }
    }

    @Test("has one order, however long the numbers are", arguments: 0..<10)
    func strictOrder(seed: Int) {
        var random = SeededRandom(seed: UInt64(seed))
        let pieces = [
            "0", "1", "9", "00", "10", "99999999999999999999", "50000000000000000000", "a", "b", "-", "é", "９",
        ]
        let texts = (0..<24).map { _ in
            (0..<Int.random(in: 0...3, using: &random)).map { _ in pieces.randomElement(using: &random) ?? "" }.joined()
        }
        for left in texts {
            #expect(!left.comparesNaturally(before: left))
            for right in texts {
                let (isBefore, isBehind) = (
                    left.comparesNaturally(before: right), right.comparesNaturally(before: left)
                )
                #expect(left == right ? !isBefore && !isBehind : isBefore != isBehind, "“\(left)” “\(right)”")
                for third in texts where isBefore && right.comparesNaturally(before: third) {
                    #expect(left.comparesNaturally(before: third), "“\(left)” “\(right)” “\(third)”")
                }
            }
        }
    }

    @Test(
        "has a nearest word, or none",
        arguments: [
            ("Wype", "Wipe"), ("wipe", "Wipe"), ("MinimunSize", "MinimumSize"), ("Minimum", "MinimumSize"),
            ("Xyz", nil),
            ("", nil), ("Wpie", "Wipe"), ("Wiep", "Wipe"), ("READER", "Reader"), ("Max", "MaximumSize"), ("Ma", nil),
            ("Palce", "Place"),
        ] as [(String, String?)])
    func nearest(text: String, word: String?) {
        #expect(text.nearest(in: ["Place", "Reader", "Wipe", "AtBoot", "MinimumSize", "MaximumSize"]) == word)
    }

    @Test("has no nearest word where it is a megabyte, and nobody waits for that", .timeLimit(.minutes(1)))
    func tooLong() {
        let words = (0..<200).map { "slot\($0)" }
        #expect(String(repeating: "slot", count: 1 << 18).nearest(in: words) == nil)
    }

    @Test(
        "matches patterns",
        arguments: [
            ("slot1", "slot1", true), ("slot1", "slot?", true), ("slot1", "slot*", true), ("slot1", "*", true),
            ("", "*", true),
            ("", "", true), ("slot1", "", false), ("slot1", "slot", false), ("slot12", "slot?", false),
            ("slot1", "*1", true),
            ("slot1", "s*t*1", true), ("slot1", "s*x*1", false), ("aaab", "*aab", true), ("abcabc", "*bc", true),
            ("slot1", "Slot1", false),
            ("*", "?", true), ("a", "**?**", true),
        ])
    func glob(text: String, pattern: String, matches: Bool) {
        #expect(text.matches(glob: pattern) == matches)
    }

    @Test("matches long patterns in no time")
    func longGlob() {
        #expect(!String(repeating: "a", count: 300).matches(glob: String(repeating: "*a", count: 40) + "b"))
    }
}

@Suite("Quantities")
struct QuantityTests {
    @Test(
        "of bytes",
        arguments: [
            (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (1234, "1.23 kB"), (9_994, "9.99 kB"), (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"), (999_500, "1.00 MB"), (8_000_000_000, "8.00 GB"), (UInt64.max, "18.4 EB"),
        ])
    func bytes(count: UInt64, text: String) {
        #expect(Quantity.bytes(count) == text)
    }

    @Test(
        "of time",
        arguments: [
            (0, "0.0 s"), (0.04, "0.0 s"), (9.94, "9.9 s"), (9.95, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
            (185, "3 min 05 s"),
            (3599.6, "1 h 00 min"), (7800, "2 h 10 min"), (-1, "–"), (.infinity, "–"), (.nan, "–"), (1e300, "–"),
        ])
    func seconds(seconds: Double, text: String) {
        #expect(Quantity.seconds(seconds) == text)
    }

    @Test(
        "of rates, also senseless ones",
        arguments: [
            (38_200_000, "38.2 MB/s"), (0, "0 B/s"), (-1, "– MB/s"), (.nan, "– MB/s"), (.infinity, "– MB/s"),
            (1e30, "– MB/s"),
        ])
    func rate(rate: Double, text: String) {
        #expect(Quantity.rate(bytesPerSecond: rate) == text)
    }

    @Test(
        "to come are told no finer than they can be known, and never too short",
        arguments: [
            (0, "5 s"), (5.1, "10 s"), (39.9, "40 s"), (60, "60 s"), (60.1, "70 s"), (120, "120 s"), (121, "3 min"),
            (5400, "90 min"), (5401, "1 h 35 min"), (7200, "2 h"), (7201, "2 h 05 min"), (-1, "–"), (.nan, "–"),
            (1e300, "–"),
        ] as [(Double, String)])
    func about(seconds: Double, text: String) {
        #expect(Quantity.about(seconds: seconds) == text)
    }

    @Test(
        "with a fixed number of digits",
        arguments: [
            (1.005, 0, "1"), (1.25, 1, "1.3"), (-0.04, 1, "0.0"), (-1.5, 1, "-1.5"), (0.05, 2, "0.05"),
            (99_999_999_999_999.9, 1, "99999999999999.9"),
            (1e30, 2, "–"), (.nan, 1, "–"),
        ])
    func fixed(value: Double, digits: Int, text: String) {
        #expect(Quantity.fixed(value, digits: digits) == text)
    }

    @Test(
        "read from configuration",
        arguments: [
            ("0", 0), ("1048576", 1 << 20), ("1K", 1 << 10), ("256M", 256 << 20), ("32G", 32 << 30), ("2T", 2 << 40),
            ("18446744073709551615", .max), ("18446744073709551616", nil), ("16777216T", nil), ("", nil), ("K", nil),
            ("-1", nil), ("1.5G", nil),
            ("1 G", nil), ("1g", nil), ("0x10", nil), ("１", nil), ("1GG", nil), ("+1", nil),
        ] as [(String, UInt64?)])
    func parse(text: String, count: UInt64?) {
        #expect(Quantity.parseBytes(text) == count)
    }
}

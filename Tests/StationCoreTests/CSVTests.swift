import StationCore
import Testing

@Suite("CSV")
struct CSVTests {
    @Test(
        "is quoted where it must be, and no spreadsheet calculates with it",
        arguments: [
            ("slot1", "slot1"), ("", ""), ("a,b", "\"a,b\""), ("\"\u{301}", "\"\"\"\u{301}\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("one\ntwo", "\"one\ntwo\""), ("one\r\ntwo", "\"one\r\ntwo\""), (" x", "\" x\""),
            ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("  =1", "'  =1"),
            ("=HYPERLINK(\"http://x\",\"y\")", "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\""), ("＝1", "'＝1"),
            ("\t=1", "'\t=1"), ("|calc", "'|calc"), ("a=1", "a=1"), ("日本", "日本"),
        ])
    func text(text: String, field: String) {
        #expect(CSV.record([.text(text)]) == field + "\r\n")
    }

    @Test("numbers stay numbers, also negative ones, and what is not known is empty")
    func fields() {
        #expect(
            CSV.record([.count(0), .number(-1.25, digits: 2), .number(.nan, digits: 1), .flag(true), .none, .text("-")])
                == "0,-1.25,,true,,'-\r\n")
        #expect(CSV.record([]) == "\r\n")
    }
}

import StationCore
import StationLinux
import Testing

@Suite("arguments")
struct ArgumentsTests {
    private let syntax = CommandSyntax(
        "tool do", operands: "THING…", count: 1...2, summary: "Does things",
        options: [.init("--image", value: "NAME", "an image"), .init("--all", short: "-a", "all of them")],
        examples: ["tool do x"])

    @Test(
        "options and operands mix, and a value may follow or be joined",
        arguments: [
            ["--image", "x", "--all", "one", "two"], ["one", "--image=x", "-a", "two"],
            ["--all", "one", "two", "--image", "x"],
        ])
    func mixing(arguments: [String]) throws {
        let parsed = try syntax.parse(arguments)
        #expect(parsed.operands == ["one", "two"])
        #expect(parsed.value("--image") == "x")
        #expect(parsed.has("--all"))
        #expect(!parsed.has("--help"))
    }

    @Test("a value may look like an option or be empty; behind -- everything is an operand; - is one")
    func values() throws {
        #expect(try syntax.parse(["--image", "--all", "x"]).value("--image") == "--all")
        #expect(try syntax.parse(["--image=", "x"]).value("--image") == "")
        #expect(try syntax.parse(["--image=a=b", "x"]).value("--image") == "a=b")
        let parsed = try syntax.parse(["--", "--all", "-"])
        #expect(parsed.operands == ["--all", "-"])
        #expect(!parsed.has("--all"))
        #expect(try syntax.parse(["-"]).operands == ["-"])
    }

    @Test(
        "what cannot be understood is named, with what was meant",
        arguments: [
            (["--imag", "x", "y"], "unknown option --imag", "did you mean --image?"),
            (["--frobnicate", "y"], "unknown option --frobnicate", "see tool do --help"),
            (["-z", "y"], "unknown option -z", "see tool do --help"),
            (["y", "--image"], "--image needs a value: NAME", "see tool do --help"),
            (["--all=yes", "y"], "--all takes no value", "see tool do --help"),
            (["--image", "a", "--image", "b", "y"], "--image is given more than once", "see tool do --help"),
            ([], "THING… is missing", "see tool do --help"),
            (["a", "b", "c"], "“c” is one operand too many", "see tool do --help"),
        ])
    func refusals(arguments: [String], message: String, remedy: String) {
        #expect {
            try syntax.parse(arguments)
        } throws: { error in
            error as? StationError == StationError("usage", message, remedy: remedy)
        }
    }

    @Test(
        "help and version need no operands", arguments: [["--help"], ["-h"], ["--version"], ["a", "b", "c", "--help"]])
    func help(arguments: [String]) throws {
        let parsed = try syntax.parse(arguments)
        #expect(parsed.has("--help") || parsed.has("--version"))
    }

    @Test("global options end at the command")
    func global() throws {
        let parsed = try syntax.parse(["--image", "x", "command", "--unknown"], onlyOptions: true)
        #expect(parsed.value("--image") == "x")
        #expect(parsed.rest == ["command", "--unknown"])
    }

    @Test("the help shows usage, each option and the example")
    func helpText() {
        let text = syntax.help
        #expect(text.hasPrefix("Does things.\n\nUsage: tool do [OPTION…] THING…\n"))
        for part in [
            "  --image NAME  an image\n", "  -a, --all     all of them\n", "-h, --help", "Example:\n  tool do x\n",
        ] {
            #expect(text.contains(part))
        }
    }
}

import Foundation
import StationCore
import StationLinux
import StationService
import Synchronization
import Testing

@Suite("control server: methods and privileges")
struct ControlServerTests {
    /// Parameters with which a method is carried out.
    private static func parameters(_ method: Control.Method) -> String {
        switch method {
        case .getStatus, .watch, .listImages, .watchDevices, .listCards, .getStatistics, .reload, .snapshotStore: "{}"
        case .listBuilders, .listBuilds, .pruneBuilders: "{}"
        case .getBuilder, .ensureBuilder: #"{"release":"24.10.2","target":"x86","subtarget":"64"}"#
        case .build: #"{"profileID":"home.ap"}"#
        case .getBuild, .getBuildLog, .cancelBuild, .removeBuild: #"{"build":"abcd"}"#
        case .explain, .inspect: #"{"slot":"slot1"}"#
        case .forgiveCard: #"{"card":"1a2b"}"#
        case .listHistory: #"{"limit":5}"#
        case .assign: #"{"slots":["slot1"],"image":"rescue"}"#
        case .unassign, .arm, .disarm, .cancel: #"{"slots":["slot1"]}"#
        case .flash, .identify: #"{"slot":"slot1"}"#
        case .importImage: #"{"name":"rescue"}"#
        case .listProfiles: "{}"
        case .getProfile, .listProfileVersions, .deleteProfile: #"{"profileID":"home.ap"}"#
        case .importProfile: #"{"profile":{}}"#
        case .removeImage, .verifyImage: #"{"name":"rescue"}"#
        }
    }

    @Test(
        "who may call what", arguments: Control.Method.allCases, ServerUnderTest.Caller.allCases)
    func privileges(method: Control.Method, caller: ServerUnderTest.Caller) async throws {
        let test = try await ServerUnderTest(as: caller)
        let client = try test.client()
        let call =
            "{\"method\":\"\(qualified(method))\",\"parameters\":\(Self.parameters(method)),\"more\":true}\0"
        let file = try Descriptor(opening: "/dev/null", O_RDONLY)
        try client.send(call, descriptors: [.importImage, .snapshotStore].contains(method) ? [file] : [])
        let reply = try await client.reply()
        let mayCall = caller.privilege.map { $0 >= method.privilege } ?? false
        #expect(reply.error == (mayCall ? nil : "org.varlink.service.PermissionDenied"))
        #expect(test.station.calls.isEmpty == !mayCall)
        await test.end()
    }

    @Test(
        "the methods reach the station with what was said",
        arguments: [
            (
                Control.Method.assign, #"{"slots":["slot1","slot2"],"image":"rescue"}"#,
                "assign rescue by \(geteuid()) slot1,slot2"
            ),
            (.unassign, #"{"slots":["slot1"]}"#, "unassign slot1"), (.arm, #"{"slots":["slot1"]}"#, "arm slot1"),
            (.disarm, #"{"slots":[]}"#, "disarm "), (.cancel, #"{"slots":["slot1"]}"#, "cancel slot1"),
            (.flash, #"{"slot":"slot1"}"#, "flash - false slot1"),
            (.flash, #"{"slot":"slot1","image":"other","isDryRun":true}"#, "flash other true slot1"),
            (.explain, #"{"slot":"slot1"}"#, "explain slot1"),
            (.listHistory, #"{"slot":"s*","limit":7}"#, "history s* 7"),
            (.removeImage, #"{"name":"rescue"}"#, "remove rescue"),
            (.identify, #"{"slot":"slot1","seconds":60}"#, "identify slot1 60"),
            (
                .assign, #"{"slots":["slot1"],"profile":"home.ap"}"#,
                "assign profile home.ap by \(geteuid()) slot1"
            ),
            (.listBuilders, "{}", "builders"),
            (.getBuilder, #"{"release":"24.10.2","target":"x86","subtarget":"64"}"#, "builder 24.10.2/x86/64"),
            (
                .ensureBuilder, #"{"release":"24.10.2","target":"x86","subtarget":"64","isRefresh":true}"#,
                "ensure 24.10.2 true by \(geteuid())"
            ),
            (.pruneBuilders, #"{"isDryRun":true,"olderThanDays":3}"#, "prune true 3 by \(geteuid())"),
            (.build, #"{"profileID":"home.ap","isForced":true}"#, "build home.ap true by \(geteuid())"),
            (.listBuilds, #"{"profile":"home.ap","limit":3}"#, "builds home.ap 3"),
            (.getBuild, #"{"build":"abcd"}"#, "build abcd"), (.getBuildLog, #"{"build":"abcd"}"#, "log abcd"),
            (.cancelBuild, #"{"build":"abcd"}"#, "cancel build abcd"),
            (.removeBuild, #"{"build":"abcd"}"#, "remove build abcd by \(geteuid())"),
            (.reload, "{}", "reload"), (.listImages, "{}", "images"), (.getStatus, "{}", "status"),
            (.watch, "{}", "status"), (.listCards, #"{"card":"1a","state":"suspect","limit":3}"#, "cards 1a suspect 3"),
            (.forgiveCard, #"{"card":"1a2b"}"#, "forgive 1a2b by \(geteuid())"), (.getStatistics, "{}", "statistics"),
            (.inspect, #"{"slot":"slot1"}"#, "inspect slot1"),
        ])
    func arrives(method: Control.Method, parameters: String, expected: String) async throws {
        let test = try await ServerUnderTest()
        let reply = try await test.client().ask(qualified(method), parameters)
        #expect(reply.error == nil)
        #expect(test.station.calls == [expected])
        await test.end()
    }

    @Test(
        "what a call may not say is refused by name",
        arguments: [
            (Control.Method.explain, "{}", "slot"), (.explain, #"{"slot":5}"#, "slot"),
            (.explain, #"{"slot":"slot1","sloth":"x"}"#, "sloth"), (.getStatus, #"{"slots":[]}"#, "slots"),
            (.assign, #"{"slots":[],"image":"x"}"#, "slots"), (.assign, #"{"slots":["a"]}"#, "image"),
            (.assign, #"{"slots":"a","image":"x"}"#, "slots"), (.assign, #"{"slots":[1],"image":"x"}"#, "slots"),
            (.arm, #"{"slots":[]}"#, "slots"), (.listHistory, #"{"limit":0}"#, "limit"),
            (.listHistory, #"{"verdict":"perfect"}"#, "verdict"), (.listHistory, "[]", "parameters"),
            (.identify, #"{"slot":"slot1","seconds":0}"#, "seconds"), (.identify, "{}", "slot"),
            (.identify, #"{"slot":"slot1","seconds":601}"#, "seconds"),
            (.listCards, #"{"limit":10001}"#, "limit"), (.listCards, #"{"state":"bad"}"#, "state"),
            (.forgiveCard, "{}", "card"), (.inspect, #"{"slots":["a"]}"#, "slots"),
            (.reload, #"{"now":true}"#, "now"), (.importImage, #"{"name":"x","sha256":"12"}"#, "sha256"),
        ])
    func invalid(method: Control.Method, parameters: String, named: String) async throws {
        let test = try await ServerUnderTest()
        let reply = try await test.client().ask(qualified(method), parameters)
        #expect(reply.error == "org.varlink.service.InvalidParameter")
        #expect(reply.parameters == ["parameter": .string(named)])
        #expect(test.station.calls.isEmpty)
        await test.end()
    }

    @Test("parameters may be left out or null where none are needed", arguments: ["", #","parameters":null"#])
    func noParameters(parameters: String) async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        try client.call("{\"method\":\"\(qualified(.getStatus))\"\(parameters)}")
        #expect(try await client.reply().error == nil)
        await test.end()
    }

    @Test("an error of the station arrives with code, message and remedy")
    func failed() async throws {
        let test = try await ServerUnderTest()
        test.station.state.withLock { $0.error = StationError("slot_unknown", "no slot\u{1B}", remedy: "look") }
        let reply = try await test.client().ask(qualified(.explain), #"{"slot":"x"}"#)
        #expect(reply.error == "\(ControlInterface.name).Failed")
        #expect(
            reply.parameters
                == ["code": .string("slot_unknown"), "message": .string("no slot?"), "remedy": .string("look")])
        await test.end()
    }

    @Test("the service describes itself, to strangers too")
    func introspection() async throws {
        let test = try await ServerUnderTest(as: .stranger)
        let client = try test.client()
        let info = try await client.ask("org.varlink.service.GetInfo")
        #expect(
            info.parameters["interfaces"] == .array([.string("org.varlink.service"), .string(ControlInterface.name)]))
        for interface in ["org.varlink.service", ControlInterface.name] {
            let reply = try await client.ask(
                "org.varlink.service.GetInterfaceDescription", "{\"interface\":\"\(interface)\"}")
            guard case .string(let text)? = reply.parameters["description"] else {
                Issue.record("no description of \(interface)")
                continue
            }
            #expect(text.contains("\ninterface \(interface)\n"))
        }
        await test.end()
    }

    @Test(
        "what is not there has its standard error",
        arguments: [
            ("org.example.Nothing", "{}", "org.varlink.service.InterfaceNotFound", "interface", "org.example"),
            ("nothing", "{}", "org.varlink.service.InterfaceNotFound", "interface", ""),
            (
                "\(ControlInterface.name).Explode", "{}", "org.varlink.service.MethodNotFound", "method",
                "\(ControlInterface.name).Explode"
            ),
            (
                "org.varlink.service.Explode", "{}", "org.varlink.service.MethodNotFound", "method",
                "org.varlink.service.Explode"
            ),
            (
                "org.varlink.service.GetInterfaceDescription", #"{"interface":"x.y"}"#,
                "org.varlink.service.InterfaceNotFound",
                "interface", "x.y"
            ),
        ])
    func notFound(method: String, parameters: String, error: String, member: String, value: String) async throws {
        let test = try await ServerUnderTest()
        let reply = try await test.client().ask(method, parameters)
        #expect(reply.error == error)
        #expect(reply.parameters == [member: .string(value)])
        await test.end()
    }

    @Test("WatchDevices wants more, and an upgrade is not implemented")
    func expectedMore() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        #expect(try await client.ask(qualified(.watchDevices)).error == "org.varlink.service.ExpectedMore")
        try client.call("{\"method\":\"\(qualified(.getStatus))\",\"upgrade\":true}")
        #expect(try await client.reply().error == "org.varlink.service.MethodNotImplemented")
        await test.end()
    }

    @Test("a long history comes in parts to who takes several, and is refused as one")
    func history() async throws {
        var limits = ControlLimits()
        limits.jobsPerReply = 3
        limits.replyByteCount = 2500
        let test = try await ServerUnderTest(limits: limits)
        test.station.state.withLock { $0.jobs = (1...7).map { Sample.job(Int64($0), report: nil) } }
        let client = try test.client()
        var sizes: [Int] = []
        var reply = try await client.ask(qualified(.listHistory), more: true)
        while case .array(let jobs)? = reply.parameters["jobs"] {
            sizes.append(jobs.count)
            guard reply.continues else { break }
            reply = try await client.reply()
        }
        #expect(sizes == [3, 3, 1])
        #expect(try await client.ask(qualified(.listHistory)).parameters["code"] == .string("reply_too_large"))
        await test.end()
    }

    @Test("a file comes beside ImportImage, and progress goes on to the image")
    func importImage() async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        let path = test.directory + "/image"
        try "card".write(toFile: path, atomically: true, encoding: .utf8)
        let file = try Descriptor(opening: path, O_RDONLY)
        try client.send(
            "{\"method\":\"\(qualified(.importImage))\",\"more\":true,\"parameters\":{\"name\":\"x\",\"isRaw\":true}}\0",
            descriptors: [file])
        let first = try await client.reply()
        #expect(first.continues && first.parameters["bytesTotal"] == .integer(4))
        let last = try await client.reply()
        #expect(!last.continues && last.parameters["image"] != nil)
        #expect(test.station.state.withLock { $0.files } == [Array("card".utf8)])
        #expect(test.station.calls == ["import x true false"])
        // And once more without `more`: the last reply only.
        try client.send(
            "{\"method\":\"\(qualified(.importImage))\",\"parameters\":{\"name\":\"x\"}}\0", descriptors: [file])
        #expect(try await client.reply().parameters["image"] != nil)
        await test.end()
    }

    @Test(
        "the files beside ImportImage must be the image and its companions",
        arguments: [
            (#"["sums"]"#, 1, "descriptor_missing"), (#"[]"#, 2, "descriptor_missing"), (#"["sums","bmap"]"#, 3, nil),
            (#"["sums","sums"]"#, 3, ""), (#"["key"]"#, 2, ""),
        ] as [(String, Int, String?)])
    func companions(names: String, count: Int, code: String?) async throws {
        let test = try await ServerUnderTest()
        let client = try test.client()
        let file = try Descriptor(opening: "/dev/null", O_RDONLY)
        try client.send(
            "{\"method\":\"\(qualified(.importImage))\",\"parameters\":{\"name\":\"x\",\"companions\":\(names)}}\0",
            descriptors: Array(repeating: file, count: count))
        let reply = try await client.reply()
        if code == "" {
            #expect(reply.error == "org.varlink.service.InvalidParameter")
        } else {
            #expect(reply.parameters["code"] == code.map { .string($0) })
        }
        #expect(test.station.calls.isEmpty == (code != nil))
        await test.end()
    }

    @Test("ImportImage without a file says so")
    func importWithoutFile() async throws {
        let test = try await ServerUnderTest()
        let reply = try await test.client().ask(qualified(.importImage), #"{"name":"x"}"#)
        #expect(reply.parameters["code"] == .string("descriptor_missing"))
        await test.end()
    }
}

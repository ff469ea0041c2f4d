import StationCore
import StationTestSupport
import Testing

@Suite("Hosts at random")
struct RandomHostTests {
    @Test("lose no disk and no card to the station's decisions", arguments: 0..<8)
    func isRight(part: UInt64) throws {
        for seed in part * 250..<part * 250 + 250 {
            let findings = try RandomHost(seed: seed).findings()
            #expect(findings.isRight, "seed \(seed): \(findings)")
        }
    }

    @Test("have every layer and every flaw, and cards that are written")
    func variety() throws {
        var layers: [RandomHost.Layer: Int] = [:]
        var flaws: [RandomHost.Flaw: Int] = [:]
        var (free, used) = (0, 0)
        for seed in 0..<1000 {
            let host = try RandomHost(seed: UInt64(seed))
            layers.merge(host.layers, uniquingKeysWith: +)
            for disk in host.disks {
                flaws[disk.flaw, default: 0] += 1
                guard disk.flaw == .none else { continue }
                if host.isUsed(disk.record.name) { used += 1 } else { free += 1 }
            }
        }
        for layer in RandomHost.Layer.allCases { #expect(layers[layer, default: 0] >= 20, "\(layer)") }
        for flaw in RandomHost.Flaw.allCases { #expect(flaws[flaw, default: 0] >= 20, "\(flaw)") }
        #expect(free >= 200 && used >= 100)
    }

    @Test("have cards whose use only the topology shows, since nobody holds them")
    func unheld() throws {
        var unseen = 0
        for seed in 0..<500 {
            let host = try RandomHost(seed: UInt64(seed))
            for disk in host.disks where disk.flaw == .none && host.isUsed(disk.record.name) && !disk.isClaimed {
                unseen += 1
                #expect(!host.topology.uses(ofDisk: disk.record.name).isEmpty)
            }
        }
        #expect(unseen >= 20)
    }
}

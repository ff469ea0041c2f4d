/// The last part of a restore: fresh directories, complete and verified, take the places of those that are there.
///
/// **What a power cut, or `kill -9`, leaves.** Everything is unpacked into `….unpacking` directories beside the two targets,
/// while the station works on. Up to here the old state is untouched, and the next restore takes such directories away. When
/// they are whole, every slot in them disarmed, and all of it on the disk, this value is written as `….restoring`, in one
/// rename: the decision. While that file is there no stationd starts, by its unit and by itself, so that nobody ever works
/// with one tree of the old state and one of the new. Then each target is exchanged in one `renameat2(RENAME_EXCHANGE)`: its
/// name always stands for a whole directory, the old or the new one. The inode written here tells which it is, so each step can be
/// found done or not done, and `restore --continue` does those that are left. The store is exchanged first: it is disarmed. Last
/// of all the file goes. So: no file, and the old state or the new one is there; or the file, and `doctor`, stationd and
/// any `restore` say that `restore --continue` is what to do.
package struct RestoreCommit: Codable, Equatable, Sendable {
    /// One directory that takes another's place.
    package struct Exchange: Codable, Equatable, Sendable {
        package var target: String
        package var fresh: String
        /// Where what was at `target` is kept.
        package var kept: String
        /// Of the fresh directory, wherever it is by now.
        package var inode: UInt64

        package init(target: String, fresh: String, kept: String, inode: UInt64) {
            self.target = target
            self.fresh = fresh
            self.kept = kept
            self.inode = inode
        }

        /// What is to be done next.
        package enum Step: Equatable, Sendable {
            case exchange, place, keep, nothing
            /// What is there was put there by nobody's plan.
            case stuck
        }

        /// - Parameters:
        ///   - targetInode: of what is at `target` now; nil where nothing is.
        ///   - freshInode: likewise.
        package func step(targetInode: UInt64?, freshInode: UInt64?) -> Step {
            if targetInode == inode { return freshInode == nil ? .nothing : .keep }
            guard freshInode == inode else { return .stuck }
            return targetInode == nil ? .place : .exchange
        }
    }

    /// The names beside a target.
    package static let freshSuffix = ".unpacking"
    package static let markerSuffix = ".restoring"
    package static func kept(_ target: String, at stamp: String) -> String { "\(target).before-restore-\(stamp)" }

    /// In their order.
    package var exchanges: [Exchange]
    /// Of the backup: for the journal.
    package var hostName: String
    package var createdAt: Double
    package var callerUserID: UInt32

    package init(exchanges: [Exchange], hostName: String, createdAt: Double, callerUserID: UInt32) {
        self.exchanges = exchanges
        self.hostName = hostName
        self.createdAt = createdAt
        self.callerUserID = callerUserID
    }

    /// What whoever meets the file of an unfinished restore is told.
    package static func unfinished(_ marker: String) -> StationError {
        StationError(
            "restore_unfinished",
            "a restore was cut off while it exchanged the state: \(marker.printable()) says how far it is",
            remedy: "sudo stationctl restore --continue")
    }
}

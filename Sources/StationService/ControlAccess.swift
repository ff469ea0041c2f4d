package import StationCore
package import StationLinux

/// Who may do what on the control socket, told from the peer's credentials as the kernel vouches for them.
package struct ControlAccess: Sendable {
    /// The group `station`; nil where the host has none.
    package var readerGroupID: UInt32?
    /// The group `station-operator`; nil where the host has none.
    package var operatorGroupID: UInt32?
    /// Users that count as root. A practice station, which belongs to one ordinary user, adds that user.
    package var rootUserIDs: Set<UInt32>

    package init(readerGroupID: UInt32?, operatorGroupID: UInt32?, rootUserIDs: Set<UInt32> = [0]) {
        self.readerGroupID = readerGroupID
        self.operatorGroupID = operatorGroupID
        self.rootUserIDs = rootUserIDs
    }

    /// Nil for a stranger, who may call nothing of the station's.
    package func privilege(of peer: PeerCredentials) -> Control.Privilege? {
        if rootUserIDs.contains(peer.userID) { return .root }
        let groups = Set(peer.groupIDs + [peer.groupID])
        if let operatorGroupID, groups.contains(operatorGroupID) { return .operator }
        if let readerGroupID, groups.contains(readerGroupID) { return .reader }
        return nil
    }
}

/// How much the control server bears of its clients.
package struct ControlLimits: Sendable {
    /// The longest call, in bytes.
    package var callByteCount = 64 * 1024
    /// The longest reply, in bytes; never more than one of them waits for a client.
    package var replyByteCount = Varlink.messageLimit
    /// Connections at one time, and of these those of one user, and of all strangers together. Root's come on top.
    package var connectionCount = 64
    package var connectionsPerUser = 24
    package var strangerConnections = 8
    /// Calls that may wait behind the one under way on one connection; then no more is read.
    package var pendingCalls = 16
    /// A client that takes nothing of a reply, or leaves a call half said, for so many seconds is hung up on.
    package var stallSeconds = 30.0
    /// Jobs in one reply of `ListHistory` that was called with `more`.
    package var jobsPerReply = 200

    package init() {}
}

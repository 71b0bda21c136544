package group

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// entry is a record of __consumer_offsets; without a value it takes back what was
// said for the key.
type entry struct{ key, value []byte }

// The versions that are written: those of Kafka 2.1 to 3.9. Earlier ones are read.
const (
	offsetKeyVersion   = 1
	groupKeyVersion    = 2
	offsetValueVersion = 3
	groupValueVersion  = 3

	expiringValueVersion = 1 // the one that says when an offset expires
)

func offsetKey(group string, tp TopicPartition) []byte {
	k := kmsg.OffsetCommitKey{Version: offsetKeyVersion, Group: group, Topic: tp.Topic, Partition: tp.Partition}
	return k.AppendTo(nil)
}

func groupKey(group string) []byte {
	k := kmsg.GroupMetadataKey{Version: groupKeyVersion, Group: group}
	return k.AppendTo(nil)
}

func offsetRecord(group string, o *Offset, committed int64) entry {
	v := kmsg.OffsetCommitValue{
		Version: offsetValueVersion, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: o.Metadata, CommitTimestamp: committed,
	}
	if o.Retention > 0 {
		v.Version, v.ExpireTimestamp = expiringValueVersion, committed+o.Retention.Milliseconds()
	}
	return entry{offsetKey(group, o.TopicPartition), v.AppendTo(nil)}
}

// metadataRecord is the group itself, with the assignments that are given.
func (g *group) metadataRecord(assignment func(*member) []byte) entry {
	v := kmsg.GroupMetadataValue{
		Version: groupValueVersion, ProtocolType: g.protocolType, Generation: g.generation, CurrentStateTimestamp: g.since.wall,
	}
	if len(g.members) > 0 {
		v.Protocol, v.Leader = &g.protocol, &g.leader
	}
	for _, m := range g.members {
		out := kmsg.GroupMetadataValueMember{
			MemberID: m.id, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeoutMillis: int32(m.rebalanceTimeout.Milliseconds()), SessionTimeoutMillis: int32(m.sessionTimeout.Milliseconds()),
			Subscription: m.metadata(g.protocol), Assignment: assignment(m),
		}
		if m.instanceID != "" {
			out.InstanceID = &m.instanceID
		}
		v.Members = append(v.Members, out)
	}
	return entry{groupKey(g.id), v.AppendTo(nil)}
}

// errUnknownRecord is wrapped by parse for records that are not of this format.
var errUnknownRecord = errors.New("not a record of offsets or groups")

// read is what a record says: of a partition's offset, or of a group when topic is
// "". Neither offset nor metadata is set when it takes that back.
type read struct {
	group string
	TopicPartition
	offset    *Offset
	committed int64 // Unix milliseconds
	doubtful  bool  // times in the record may be wrong
	metadata  *kmsg.GroupMetadataValue
}

// parse reads a record. Versions after those of Kafka 3.9 are refused: kmsg trusts
// the counts in them.
func parse(key, value []byte) (read, error) {
	if len(key) < 2 {
		return read{}, errUnknownRecord
	}
	switch version := int16(binary.BigEndian.Uint16(key)); version {
	case 0, offsetKeyVersion:
		return parseOffset(key, value)
	case groupKeyVersion:
		return parseGroup(key, value)
	default:
		return read{}, fmt.Errorf("%w: key version %d", errUnknownRecord, version)
	}
}

func parseOffset(key, value []byte) (read, error) {
	var k kmsg.OffsetCommitKey
	if err := k.ReadFrom(key); err != nil {
		return read{}, fmt.Errorf("%w: key of an offset: %w", errUnknownRecord, err)
	}
	out := read{group: k.Group, TopicPartition: TopicPartition{k.Topic, k.Partition}}
	if k.Topic == "" {
		return read{}, fmt.Errorf("%w: offset of no topic", errUnknownRecord)
	}
	if value == nil {
		return out, nil
	}
	v := kmsg.OffsetCommitValue{LeaderEpoch: -1} // before version 3 there is none
	if err := versionOf(value, offsetValueVersion); err != nil {
		return read{}, err
	}
	if err := v.ReadFrom(value); err != nil {
		return read{}, fmt.Errorf("%w: offset: %w", errUnknownRecord, err)
	}
	out.committed = v.CommitTimestamp
	out.offset = &Offset{TopicPartition: out.TopicPartition, Offset: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata}
	if v.Version == expiringValueVersion && v.ExpireTimestamp > v.CommitTimestamp {
		out.offset.Retention = time.Duration(v.ExpireTimestamp-v.CommitTimestamp) * time.Millisecond
	}
	return out, nil
}

func parseGroup(key, value []byte) (read, error) {
	var k kmsg.GroupMetadataKey
	if err := k.ReadFrom(key); err != nil {
		return read{}, fmt.Errorf("%w: key of a group: %w", errUnknownRecord, err)
	}
	out := read{group: k.Group}
	if value == nil {
		return out, nil
	}
	if err := versionOf(value, groupValueVersion); err != nil {
		return read{}, err
	}
	v := &kmsg.GroupMetadataValue{CurrentStateTimestamp: -1}
	if err := v.ReadFrom(value); err != nil {
		return read{}, fmt.Errorf("%w: group: %w", errUnknownRecord, err)
	}
	out.metadata = v
	return out, nil
}

func versionOf(value []byte, latest int16) error {
	if len(value) < 2 {
		return fmt.Errorf("%w: a value of %d bytes", errUnknownRecord, len(value))
	}
	if v := int16(binary.BigEndian.Uint16(value)); v < 0 || v > latest {
		return fmt.Errorf("%w: value version %d, up to %d can be read", errUnknownRecord, v, latest)
	}
	return nil
}

// restored is the group that v describes, as of now: its members have a whole
// session to show themselves.
func restored(id string, l limits, v *kmsg.GroupMetadataValue, doubtful bool, now time.Time) *group {
	g := newGroup(id, l, now)
	g.stored = true
	g.generation, g.protocolType = v.Generation, v.ProtocolType
	g.since = stamp{v.CurrentStateTimestamp, doubtful, now}
	if v.Protocol != nil {
		g.protocol = *v.Protocol
	}
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	for _, in := range v.Members {
		if g.byID[in.MemberID] != nil {
			continue
		}
		m := &member{
			id: in.MemberID, clientID: in.ClientID, clientHost: in.ClientHost, assignment: bytes.Clone(in.Assignment),
			sessionTimeout:   time.Duration(in.SessionTimeoutMillis) * time.Millisecond,
			rebalanceTimeout: time.Duration(max(in.RebalanceTimeoutMillis, 0)) * time.Millisecond,
			protocols:        []Protocol{{g.protocol, bytes.Clone(in.Subscription)}},
		}
		if in.InstanceID != nil {
			m.instanceID = *in.InstanceID
		}
		if m.rebalanceTimeout == 0 { // version 0 of the value, which has one for both
			m.rebalanceTimeout = m.sessionTimeout
		}
		g.add(m, v.ProtocolType)
		m.touch(now)
	}
	if len(g.members) == 0 {
		return g
	}
	if g.byID[g.leader] == nil {
		g.leader = g.members[0].id
	}
	g.state = Stable
	if len(g.members) > l.maxMembers {
		g.prepare(now) // all join again, and those that are too many find no room
	}
	return g
}

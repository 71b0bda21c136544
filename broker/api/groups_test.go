package api

import (
	"bytes"
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/headwater/headwater/broker/group"
	"github.com/headwater/headwater/broker/wire"
)

func joinRequest(id string) *kmsg.JoinGroupRequest {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.MemberID, req.ProtocolType = "readers", id, "consumer"
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 10_000, 10_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{0, 0, 0, 0, 0, 1, 0, 5, 'p', 'r', 'e', 's', 's', 0, 0, 0, 0}
	req.Protocols = append(req.Protocols, p)
	return req
}

func syncRequest(id string, generation int32) *kmsg.SyncGroupRequest {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Group, req.MemberID, req.Generation = "readers", id, generation
	req.ProtocolType, req.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte("all of it")}}
	return req
}

func commitRequest(id string, generation int32, topic string, partition int32, offset int64, metadata string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.MemberID, req.Generation = "readers", id, generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, 4, &metadata
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return req
}

func fetchOffsets(version int16, group string, partitions ...int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	if version < 8 {
		req.Group = group
		req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "press", Partitions: partitions}}
		return req
	}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = group, []kmsg.OffsetFetchRequestGroupTopic{{Topic: "press", Partitions: partitions}}
	req.Groups = append(req.Groups, g)
	return req
}

// flat is a fetched offset, as every version tells it.
type flat struct {
	topic     string
	partition int32
	offset    int64
	epoch     int32
	metadata  string
	code      wire.ErrorCode
}

func flatten(resp *kmsg.OffsetFetchResponse) (out []flat, code wire.ErrorCode) {
	code = wire.ErrorCode(resp.ErrorCode)
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, flat{t.Topic, p.Partition, p.Offset, p.LeaderEpoch, text(p.Metadata), wire.ErrorCode(p.ErrorCode)})
		}
	}
	for _, g := range resp.Groups {
		code = wire.ErrorCode(g.ErrorCode)
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				out = append(out, flat{t.Topic, p.Partition, p.Offset, p.LeaderEpoch, text(p.Metadata), wire.ErrorCode(p.ErrorCode)})
			}
		}
	}
	return out, code
}

// A member's whole life, in every version of every request of it.
func TestGroupInEveryVersion(t *testing.T) {
	for version := int16(0); version <= 9; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			b := newBox(t)
			b.create(t, "press", 2, nil)
			c := b.dial(t)
			up := func(highest int16) int16 { return min(version, highest) }

			joined := call[*kmsg.JoinGroupResponse](t, c, joinRequest(""), version)
			if version >= 4 {
				if code(joined.ErrorCode) != wire.MemberIDRequired || !strings.HasPrefix(joined.MemberID, "test-") {
					t.Fatalf("first join: %+v", joined)
				}
				joined = call[*kmsg.JoinGroupResponse](t, c, joinRequest(joined.MemberID), version)
			}
			if joined.ErrorCode != 0 || joined.Generation != 1 || joined.LeaderID != joined.MemberID || text(joined.Protocol) != "range" || len(joined.Members) != 1 {
				t.Fatalf("join: %+v", joined)
			}
			if version >= 7 && text(joined.ProtocolType) != "consumer" {
				t.Errorf("protocol type %v", joined.ProtocolType)
			}
			id := joined.MemberID
			synced := call[*kmsg.SyncGroupResponse](t, c, syncRequest(id, 1), up(5))
			if synced.ErrorCode != 0 || string(synced.MemberAssignment) != "all of it" {
				t.Fatalf("sync: %+v", synced)
			}
			hb := kmsg.NewPtrHeartbeatRequest()
			hb.Group, hb.MemberID, hb.Generation = "readers", id, 1
			if resp := call[*kmsg.HeartbeatResponse](t, c, hb, up(4)); resp.ErrorCode != 0 {
				t.Errorf("heartbeat: %v", code(resp.ErrorCode))
			}
			commit := call[*kmsg.OffsetCommitResponse](t, c, commitRequest(id, 1, "press", 1, 77, "as it was"), max(version, 1))
			if got := commit.Topics[0].Partitions[0]; got.ErrorCode != 0 || got.Partition != 1 {
				t.Errorf("commit: %+v", got)
			}
			fetched := call[*kmsg.OffsetFetchResponse](t, c, fetchOffsets(max(version, 1), "readers", 0, 1, 0), max(version, 1))
			epoch := int32(-1)
			if version >= 6 {
				epoch = 4
			}
			want := []flat{{"press", 0, -1, -1, "", 0}, {"press", 1, 77, epoch, "as it was", 0}}
			if got, groupCode := flatten(fetched); groupCode != 0 || !reflect.DeepEqual(got, want) {
				t.Errorf("fetch: %+v, %v, want %+v", got, groupCode, want)
			}
			described := describeGroups(t, c, up(6), "readers")
			if m := described.Members; described.State != "Stable" || described.Protocol != "range" || len(m) != 1 || m[0].MemberID != id || m[0].ClientID != "test" || string(m[0].MemberAssignment) != "all of it" {
				t.Errorf("describe: %+v", described)
			}
			leave := kmsg.NewPtrLeaveGroupRequest()
			leave.Group, leave.MemberID = "readers", id
			leave.Members = []kmsg.LeaveGroupRequestMember{{MemberID: id}}
			left := call[*kmsg.LeaveGroupResponse](t, c, leave, up(5))
			if left.ErrorCode != 0 || (version >= 3) != (len(left.Members) == 1) {
				t.Errorf("leave: %+v", left)
			}
			if got := describeGroups(t, c, up(6), "readers").State; got != "Empty" {
				t.Errorf("after it left the group is %s", got)
			}
		})
	}
}

func describeGroups(t *testing.T, c *client, version int16, id string) kmsg.DescribeGroupsResponseGroup {
	t.Helper()
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups, req.IncludeAuthorizedOperations = []string{id, id}, true
	resp := call[*kmsg.DescribeGroupsResponse](t, c, req, version)
	if len(resp.Groups) != 1 {
		t.Fatalf("%d groups are described, want the one that was asked for twice", len(resp.Groups))
	}
	return resp.Groups[0]
}

// stableGroup makes a group with one member, and returns the member's id.
func stableGroup(t *testing.T, c *client) string {
	t.Helper()
	joined := call[*kmsg.JoinGroupResponse](t, c, joinRequest(""), 3)
	synced := call[*kmsg.SyncGroupResponse](t, c, syncRequest(joined.MemberID, 1), 3)
	if joined.ErrorCode != 0 || synced.ErrorCode != 0 {
		t.Fatalf("join: %v, sync: %v", code(joined.ErrorCode), code(synced.ErrorCode))
	}
	return joined.MemberID
}

// Bad input is answered as Kafka answers it.
func TestGroupBadInput(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	c := b.dial(t)
	id := stableGroup(t, c)

	for name, tc := range map[string]struct {
		req  *kmsg.OffsetCommitRequest
		want wire.ErrorCode
	}{
		"good":             {commitRequest(id, 1, "press", 0, 5, "m"), wire.None},
		"unknownTopic":     {commitRequest(id, 1, "none", 0, 5, "m"), wire.UnknownTopicOrPartition},
		"unknownPartition": {commitRequest(id, 1, "press", 2, 5, "m"), wire.UnknownTopicOrPartition},
		"negative":         {commitRequest(id, 1, "press", -1, 5, "m"), wire.UnknownTopicOrPartition},
		"negativeOffset":   {commitRequest(id, 1, "press", 1, -1, "m"), wire.None}, // Kafka takes it; it reads as nothing committed
		"stale":            {commitRequest(id, 0, "press", 0, 5, "m"), wire.IllegalGeneration},
		"unknownMember":    {commitRequest("x", 1, "press", 0, 5, "m"), wire.UnknownMemberID},
		"noMember":         {commitRequest("", -1, "press", 0, 5, "m"), wire.UnknownMemberID},
		"longMetadata":     {commitRequest(id, 1, "press", 0, 5, strings.Repeat("m", 4097)), wire.OffsetMetadataTooLarge},
		"longestMetadata":  {commitRequest(id, 1, "press", 1, 5, strings.Repeat("m", 4096)), wire.None},
	} {
		resp := call[*kmsg.OffsetCommitResponse](t, c, tc.req, 8)
		if got := code(resp.Topics[0].Partitions[0].ErrorCode); got != tc.want {
			t.Errorf("commit, %s: %v, want %v", name, got, tc.want)
		}
	}
	two := commitRequest(id, 1, "press", 0, 9, "m")
	two.Topics = append(two.Topics, commitRequest(id, 1, "none", 0, 9, "m").Topics...)
	resp := call[*kmsg.OffsetCommitResponse](t, c, two, 8)
	if good, bad := code(resp.Topics[0].Partitions[0].ErrorCode), code(resp.Topics[1].Partitions[0].ErrorCode); good != wire.None || bad != wire.UnknownTopicOrPartition {
		t.Errorf("two partitions: %v and %v", good, bad)
	}

	empty := joinRequest("")
	empty.Group = ""
	short := joinRequest("")
	short.SessionTimeoutMillis = 1 << 30
	other := joinRequest("")
	other.ProtocolType = "connect"
	for name, tc := range map[string]struct {
		req  *kmsg.JoinGroupRequest
		want wire.ErrorCode
	}{
		"noGroup":       {empty, wire.InvalidGroupID},
		"longSession":   {short, wire.InvalidSessionTimeout},
		"otherType":     {other, wire.InconsistentGroupProtocol},
		"unknownMember": {joinRequest("x"), wire.UnknownMemberID},
	} {
		for version := int16(0); version <= 9; version++ {
			resp := call[*kmsg.JoinGroupResponse](t, c, tc.req, version)
			if got := code(resp.ErrorCode); got != tc.want || resp.Generation != -1 {
				t.Errorf("join %d, %s: %v, generation %d, want %v", version, name, got, resp.Generation, tc.want)
			}
		}
	}
}

// Of a group that nobody knows: offsets of -1 and no error, members that are
// unknown, and a group that is dead.
func TestUnknownGroup(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	c := b.dial(t)
	for version := int16(1); version <= 9; version++ {
		resp := call[*kmsg.OffsetFetchResponse](t, c, fetchOffsets(version, "none", 1), version)
		if got, groupCode := flatten(resp); groupCode != 0 || !reflect.DeepEqual(got, []flat{{"press", 1, -1, -1, "", 0}}) {
			t.Errorf("fetch %d: %+v, %v", version, got, groupCode)
		}
	}
	for version := int16(0); version <= 4; version++ {
		hb := kmsg.NewPtrHeartbeatRequest()
		hb.Group, hb.MemberID = "none", "x"
		if got := code(call[*kmsg.HeartbeatResponse](t, c, hb, version).ErrorCode); got != wire.UnknownMemberID {
			t.Errorf("heartbeat %d: %v", version, got)
		}
	}
	for version := int16(0); version <= 5; version++ {
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID, leave.Members = "none", "x", []kmsg.LeaveGroupRequestMember{{MemberID: "x"}}
		resp := call[*kmsg.LeaveGroupResponse](t, c, leave, version)
		got := code(resp.ErrorCode)
		if version >= 3 && got == wire.None {
			got = code(resp.Members[0].ErrorCode)
		}
		if got != wire.UnknownMemberID {
			t.Errorf("leave %d: %v", version, got)
		}
	}
	for version := int16(0); version <= 6; version++ {
		want := wire.None
		if version >= 6 {
			want = wire.GroupIDNotFound
		}
		if got := describeGroups(t, c, version, "none"); got.State != "Dead" || code(got.ErrorCode) != want {
			t.Errorf("describe %d: %s, %v", version, got.State, code(got.ErrorCode))
		}
	}
}

// All of a group's offsets come when no topic is named, and none when none is
// asked for; a group that is asked for twice is answered once.
func TestOffsetFetchAll(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.create(t, "oven", 1, nil)
	c := b.dial(t)
	for _, req := range []*kmsg.OffsetCommitRequest{commitRequest("", -1, "press", 1, 5, ""), commitRequest("", -1, "oven", 0, 6, ""), commitRequest("", -1, "press", 0, 7, "")} {
		call[*kmsg.OffsetCommitResponse](t, c, req, 5)
	}
	want := []flat{{"oven", 0, 6, -1, "", 0}, {"press", 0, 7, -1, "", 0}, {"press", 1, 5, -1, "", 0}}
	for version := int16(2); version <= 9; version++ {
		req := fetchOffsets(version, "readers")
		none := fetchOffsets(version, "readers")
		none.Topics = []kmsg.OffsetFetchRequestTopic{}
		req.Topics = nil
		for i := range req.Groups {
			req.Groups[i].Topics, none.Groups[i].Topics = nil, []kmsg.OffsetFetchRequestGroupTopic{}
		}
		req.Groups = append(req.Groups, req.Groups...)
		if got, _ := flatten(call[*kmsg.OffsetFetchResponse](t, c, req, version)); !reflect.DeepEqual(got, want) {
			t.Errorf("version %d: %+v, want %+v", version, got, want)
		}
		if got, _ := flatten(call[*kmsg.OffsetFetchResponse](t, c, none, version)); len(got) != 0 {
			t.Errorf("version %d, asked for none: %+v", version, got)
		}
	}
}

func TestListAndDeleteGroups(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	c := b.dial(t)
	id := stableGroup(t, c)
	simple := commitRequest("", -1, "press", 0, 5, "")
	simple.Group = "simple"
	call[*kmsg.OffsetCommitResponse](t, c, simple, 5)
	list := func(version int16, states, types []string) string {
		req := kmsg.NewPtrListGroupsRequest()
		req.StatesFilter, req.TypesFilter = states, types
		out := ""
		for _, g := range call[*kmsg.ListGroupsResponse](t, c, req, version).Groups {
			out += fmt.Sprintf("%s/%s/%s/%s ", g.Group, g.ProtocolType, g.GroupState, g.GroupType)
		}
		return out
	}
	for version, want := range []string{
		"readers/consumer// simple/// ", "readers/consumer// simple/// ", "readers/consumer// simple/// ", "readers/consumer// simple/// ",
		"readers/consumer/Stable/ simple//Empty/ ", "readers/consumer/Stable/classic simple//Empty/classic ",
	} {
		if got := list(int16(version), nil, nil); got != want {
			t.Errorf("list %d: %q, want %q", version, got, want)
		}
	}
	if got := list(5, []string{"stable"}, []string{"Classic"}); got != "readers/consumer/Stable/classic " {
		t.Errorf("stable ones: %q", got)
	}
	if got := list(5, nil, []string{"consumer"}); got != "" {
		t.Errorf("of another type: %q", got)
	}

	drop := kmsg.NewPtrOffsetDeleteRequest()
	drop.Group = "readers"
	drop.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: "press", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 9}}}}
	dropped := call[*kmsg.OffsetDeleteResponse](t, c, drop, 0)
	if p := dropped.Topics[0].Partitions; dropped.ErrorCode != 0 || code(p[0].ErrorCode) != wire.GroupSubscribedToTopic || code(p[1].ErrorCode) != wire.UnknownTopicOrPartition {
		t.Errorf("delete offsets: %+v", dropped)
	}
	drop.Group = "none"
	if got := call[*kmsg.OffsetDeleteResponse](t, c, drop, 0); code(got.ErrorCode) != wire.GroupIDNotFound || len(got.Topics) != 0 {
		t.Errorf("delete offsets of an unknown group: %+v", got)
	}

	for version := int16(0); version <= 2; version++ {
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{"readers", "none", "readers"}
		got := ""
		for _, g := range call[*kmsg.DeleteGroupsResponse](t, c, req, version).Groups {
			got += fmt.Sprint(g.Group, " ", code(g.ErrorCode), ", ")
		}
		if want := "readers NON_EMPTY_GROUP, none GROUP_ID_NOT_FOUND, "; got != want {
			t.Errorf("delete %d: %s, want %s", version, got, want)
		}
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group, leave.MemberID = "readers", id
	call[*kmsg.LeaveGroupResponse](t, c, leave, 2)
	req := kmsg.NewPtrDeleteGroupsRequest()
	req.Groups = []string{"readers", "simple"}
	for _, g := range call[*kmsg.DeleteGroupsResponse](t, c, req, 2).Groups {
		if g.ErrorCode != 0 {
			t.Errorf("delete %s: %v", g.Group, code(g.ErrorCode))
		}
	}
	if got := list(5, nil, nil); got != "" {
		t.Errorf("after that there are %q", got)
	}
}

// A member that waits is answered when the server stops, so that stopping does not
// wait for it.
func TestJoinIsAnsweredWhenTheServerStops(t *testing.T) {
	b := newBox(t)
	cfg := group.DefaultConfig()
	cfg.InitialDelay = time.Hour
	groups := group.New(cfg, offsetsLog{b.solo, b}, func() (time.Time, bool) { return time.Now(), true }, b.api.log, nil)
	b.api.cfg.Groups = groups
	ctx, stop := context.WithCancel(t.Context())
	running := make(chan error)
	go func() { running <- groups.Run(ctx) }()
	t.Cleanup(func() { stop(); <-running })
	for groups.Ready("readers") != nil {
		time.Sleep(time.Millisecond)
	}
	req := joinRequest("")
	req.SetVersion(3)
	frame := format.AppendRequest(nil, req, 1)[4:]
	started, err := b.api.Start(t.Context(), frame, leaving{})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := started.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	resp := kmsg.NewPtrJoinGroupResponse()
	resp.SetVersion(3)
	if err := resp.ReadFrom(bytes.Join(answer.Pieces, nil)[8:]); err != nil || code(resp.ErrorCode) != wire.CoordinatorNotAvailable {
		t.Errorf("%v, %v, want %v", code(resp.ErrorCode), err, wire.CoordinatorNotAvailable)
	}
}

// memZooKeeper keeps offsets by their paths.
type memZooKeeper map[string]int64

func path(group, topic string, partition int32) string {
	return fmt.Sprintf("/consumers/%s/offsets/%s/%d", group, topic, partition)
}

func (m memZooKeeper) SetOffset(_ context.Context, group, topic string, partition int32, offset int64) error {
	m[path(group, topic, partition)] = offset
	return nil
}

func (m memZooKeeper) OffsetOf(_ context.Context, group, topic string, partition int32) (offset int64, found bool, err error) {
	offset, found = m[path(group, topic, partition)]
	return offset, found, nil
}

// Version 0 keeps offsets in ZooKeeper; without one it is refused, which the log
// says once for each client.
func TestOffsetsInZooKeeper(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	c := b.dial(t)
	both := func() (commit, fetch wire.ErrorCode, offset int64) {
		committed := call[*kmsg.OffsetCommitResponse](t, c, commitRequest("", -1, "press", 1, 42, ""), 0)
		fetched, _ := flatten(call[*kmsg.OffsetFetchResponse](t, c, fetchOffsets(0, "readers", 1), 0))
		return code(committed.Topics[0].Partitions[0].ErrorCode), fetched[0].code, fetched[0].offset
	}
	for range 3 {
		if commit, fetch, offset := both(); commit != wire.UnsupportedVersion || fetch != wire.UnsupportedVersion || offset != -1 {
			t.Errorf("without ZooKeeper: commit %v, fetch %v, offset %d", commit, fetch, offset)
		}
	}
	if n := strings.Count(b.log.String(), "ZooKeeper"); n != 1 {
		t.Errorf("logged %d times, want once: %s", n, b.log)
	}

	zk := memZooKeeper{}
	b.api.cfg.ZooKeeper = zk
	if commit, fetch, offset := both(); commit != 0 || fetch != 0 || offset != 42 {
		t.Errorf("with ZooKeeper: commit %v, fetch %v, offset %d", commit, fetch, offset)
	}
	if want := (memZooKeeper{"/consumers/readers/offsets/press/1": 42}); !reflect.DeepEqual(zk, want) {
		t.Errorf("ZooKeeper has %v, want %v", zk, want)
	}
	unknown := call[*kmsg.OffsetCommitResponse](t, c, commitRequest("", -1, "none", 0, 1, ""), 0)
	if got := code(unknown.Topics[0].Partitions[0].ErrorCode); got != wire.UnknownTopicOrPartition {
		t.Errorf("unknown topic: %v", got)
	}
	for group, want := range map[string]wire.ErrorCode{"readers": wire.UnknownTopicOrPartition, "a/b": wire.InvalidGroupID, "..": wire.InvalidGroupID, "": wire.InvalidGroupID} {
		if got, _ := flatten(call[*kmsg.OffsetFetchResponse](t, c, fetchOffsets(0, group, 0), 0)); got[0].offset != -1 || got[0].code != want {
			t.Errorf("nothing committed for %q: %+v, want %v", group, got, want)
		}
		if group == "readers" {
			continue
		}
		req := commitRequest("", -1, "press", 0, 1, "")
		req.Group = group
		if got := code(call[*kmsg.OffsetCommitResponse](t, c, req, 0).Topics[0].Partitions[0].ErrorCode); got != want {
			t.Errorf("commit for %q: %v, want %v", group, got, want)
		}
	}
	long := call[*kmsg.OffsetCommitResponse](t, c, commitRequest("", -1, "press", 0, 1, strings.Repeat("m", 4097)), 0)
	if got := code(long.Topics[0].Partitions[0].ErrorCode); got != wire.OffsetMetadataTooLarge || len(zk) != 1 {
		t.Errorf("long metadata: %v, and ZooKeeper has %v", got, zk)
	}
}

// The offsets of a topic go with it.
func TestDeletedTopicTakesItsOffsets(t *testing.T) {
	b := newBox(t)
	b.create(t, "press", 2, nil)
	b.create(t, "oven", 1, nil)
	c := b.dial(t)
	for _, name := range []string{"press", "oven"} {
		call[*kmsg.OffsetCommitResponse](t, c, commitRequest("", -1, name, 0, 5, ""), 5)
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"press"}
	call[*kmsg.DeleteTopicsResponse](t, c, del, 5)
	b.create(t, "press", 2, nil)
	all := fetchOffsets(5, "readers")
	all.Topics = nil
	if got, _ := flatten(call[*kmsg.OffsetFetchResponse](t, c, all, 5)); !reflect.DeepEqual(got, []flat{{"oven", 0, 5, -1, "", 0}}) {
		t.Errorf("left are %+v", got)
	}
}

// Clients see __consumer_offsets as internal, and can neither make, write to nor
// delete it.
func TestOffsetsTopicIsInternal(t *testing.T) {
	b := newBox(t)
	c := b.dial(t)
	ask := metadataRequest(group.Topic)
	ask.AllowAutoTopicCreation = true
	if got := call[*kmsg.MetadataResponse](t, c, ask, 9).Topics[0]; code(got.ErrorCode) != wire.UnknownTopicOrPartition {
		t.Errorf("metadata made it: %v", code(got.ErrorCode))
	}
	create := call[*kmsg.CreateTopicsResponse](t, c, createRequest(newTopic(group.Topic, 1, 1)), 5)
	if got := code(create.Topics[0].ErrorCode); got != wire.InvalidTopic {
		t.Errorf("create: %v", got)
	}
	b.create(t, "press", 1, nil)
	call[*kmsg.OffsetCommitResponse](t, c, commitRequest("", -1, "press", 0, 1, ""), 5)
	if got := call[*kmsg.MetadataResponse](t, c, ask, 9).Topics[0]; got.ErrorCode != 0 || !got.IsInternal {
		t.Errorf("metadata: %+v", got)
	}
	produced := call[*kmsg.ProduceResponse](t, c, produceRequest(-1, group.Topic, 0, batch(1, 5, 0)), 9)
	if got := code(produced.Topics[0].Partitions[0].ErrorCode); got != wire.InvalidTopic {
		t.Errorf("produce: %v", got)
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{group.Topic}
	if got := code(call[*kmsg.DeleteTopicsResponse](t, c, del, 5).Topics[0].ErrorCode); got != wire.InvalidTopic {
		t.Errorf("delete: %v", got)
	}
}

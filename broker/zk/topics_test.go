package zk

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/headwater/headwater/broker/cluster"
	"github.com/headwater/headwater/broker/topic"
)

func sorted(names []string) []string {
	slices.Sort(names)
	return names
}

var someID = topic.ID{1, 2, 3}

func TestTopicJSON(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want cluster.TopicAssignment
		same bool // it is also what we write
	}{
		"v3": {
			`{"version":3,"topic_id":"` + someID.String() + `","partitions":{"0":[1,2],"1":[2,1]},"adding_replicas":{"1":[1]},"removing_replicas":{}}`,
			cluster.TopicAssignment{ID: someID, Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1, 2}}, 1: {Replicas: []int32{2, 1}, Adding: []int32{1}}}},
			true,
		},
		"v2": {
			`{"version":2,"partitions":{"0":[]},"adding_replicas":{},"removing_replicas":{"0":[4]}}`,
			cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{}, Removing: []int32{4}}}},
			true,
		},
		"v1": {
			`{"version":1,"partitions":{"12":[3]}}`,
			cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{12: {Replicas: []int32{3}}}},
			false,
		},
	} {
		tc.want.Version = 9
		got, err := decodeTopic("/brokers/topics/t", node{data: []byte(tc.text), version: 9})
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, tc.want)
		}
		if written := string(encodeTopic(tc.want)); tc.same && written != tc.text {
			t.Errorf("%s: written\n%s, want\n%s", name, written, tc.text)
		}
	}
	for _, text := range []string{``, `[]`, `{"version":1,"partitions":{"-1":[1]}}`, `{"version":1,"partitions":{"x":[1]}}`, `{"version":3,"topic_id":"short","partitions":{}}`, `{"version":1,"partitions":{"0":[2147483648]}}`} {
		_, err := decodeTopic("/brokers/topics/t", node{data: []byte(text)})
		wantError(t, err, ErrMalformed)
	}
}

func TestStateJSON(t *testing.T) {
	for text, want := range map[string]cluster.PartitionState{
		`{"version":1,"leader":1,"leader_epoch":0,"controller_epoch":3,"isr":[1,2]}`:                         {Leader: 1, ControllerEpoch: 3, ISR: []int32{1, 2}},
		`{"version":1,"leader":-1,"leader_epoch":4,"controller_epoch":3,"isr":[]}`:                           {Leader: -1, LeaderEpoch: 4, ControllerEpoch: 3, ISR: []int32{}},
		`{"version":1,"leader":2,"leader_epoch":5,"controller_epoch":3,"isr":[2],"leader_recovery_state":1}`: {Leader: 2, LeaderEpoch: 5, ControllerEpoch: 3, ISR: []int32{2}, Recovering: true},
	} {
		want.PartitionEpoch = 6
		got, err := decodeState("/state", node{data: []byte(text), version: 6})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
		if written := string(encodeState(want)); written != text {
			t.Errorf("written\n%s, want\n%s", written, text)
		}
	}
	for _, text := range []string{``, `{}`, `{"leader":-2,"leader_epoch":0}`, `{"leader":1,"leader_epoch":-1}`} {
		_, err := decodeState("/state", node{data: []byte(text)})
		wantError(t, err, ErrMalformed)
	}
}

// A topic is made once, with its settings; who waits for topics is told.
func testTopics(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	w, changed := NewWatch()
	if got := must[[]string](t)(s.Topics(t.Context(), w)); len(got) != 0 {
		t.Fatalf("topics %q", got)
	}
	assigned := cluster.TopicAssignment{ID: someID, Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1}}}}
	if err := s.CreateTopic(t.Context(), "t", assigned, map[string]string{"retention.ms": "1"}, -1); err != nil {
		t.Fatal(err)
	}
	receive(t, changed, "the news of a topic")
	wantNode(t, s, "/config/topics/t", `{"version":1,"config":{"retention.ms":"1"}}`)
	wantError(t, s.CreateTopic(t.Context(), "t", assigned, nil, -1), cluster.ErrTopicExists)
	wantNode(t, s, "/config/topics/t", `{"version":1,"config":{"retention.ms":"1"}}`) // as it was
	if err := s.CreateTopic(t.Context(), "../x", assigned, nil, -1); err == nil {
		t.Error("a topic ../x was made")
	}

	testOwnSettings(t, s)

	got := must[cluster.TopicAssignment](t)(s.Topic(t.Context(), "t", w))
	assigned.Partitions[1] = cluster.Assignment{Replicas: []int32{1}}
	assigned.Version = got.Version
	if version := must[int32](t)(s.AlterTopic(t.Context(), "t", assigned)); version != got.Version+1 {
		t.Errorf("version %d after %d", version, got.Version)
	}
	receive(t, changed, "the news of a partition")
	_, err := s.AlterTopic(t.Context(), "t", assigned) // the version of before
	wantError(t, err, cluster.ErrVersion)
	_, err = s.AlterTopic(t.Context(), "none", assigned)
	wantError(t, err, cluster.ErrUnknownTopic)
	_, err = s.Topic(t.Context(), "none", w)
	wantError(t, err, cluster.ErrUnknownTopic)
}

// What Kafka does not know of a topic stands apart, where its brokers do not look; and
// is not that of a topic made anew under the name.
func testOwnSettings(t *testing.T, s *Session) {
	assigned := cluster.TopicAssignment{ID: someID, Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1}}}}
	if err := s.CreateTopic(t.Context(), "own", assigned, map[string]string{"retention.ms": "1", "headwater.full": "reject"}, 7); err != nil {
		t.Fatal(err)
	}
	wantNode(t, s, "/config/topics/own", `{"version":1,"config":{"retention.ms":"1"}}`)
	wantNode(t, s, "/headwater/topics/own", `{"version":1,"topic_id":"`+someID.String()+`","config":{"headwater.full":"reject"},"device_of":7}`)
	config, version, own, err := s.TopicSettings(t.Context(), "own")
	if err != nil || config["retention.ms"] != "1" || own.Settings["headwater.full"] != "reject" || own.Device != 7 || own.ID != someID {
		t.Fatalf("%v, %+v, %v", config, own, err)
	}
	set := map[string]string{"retention.ms": "2", "headwater.full": "drop-oldest"}
	if err := s.SetTopicSettings(t.Context(), "own", someID, set, version); err != nil {
		t.Fatal(err)
	}
	wantError(t, s.SetTopicSettings(t.Context(), "own", someID, nil, version), cluster.ErrVersion)
	wantNode(t, s, "/config/topics/own", `{"version":1,"config":{"retention.ms":"2"}}`)
	wantNode(t, s, "/headwater/topics/own", `{"version":1,"topic_id":"`+someID.String()+`","config":{"headwater.full":"drop-oldest"},"device_of":7}`)
	anew := topic.NewID()
	if err := s.SetTopicSettings(t.Context(), "own", anew, map[string]string{"headwater.full": "reject"}, version+1); err != nil {
		t.Fatal(err)
	}
	wantNode(t, s, "/headwater/topics/own", `{"version":1,"topic_id":"`+anew.String()+`","config":{"headwater.full":"reject"}}`)
	if _, err := s.set(t.Context(), "/headwater/topics/own", []byte("{"), anyVersion); err != nil {
		t.Fatal(err)
	}
	if _, _, own, err := s.TopicSettings(t.Context(), "own"); err != nil || len(own.Settings) > 0 || own.Device != -1 {
		t.Errorf("what cannot be read: %+v, %v", own, err)
	}
}

// States are made once, and written over the partition epoch that is known; one that
// is refused does not hold up the others.
func testStates(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	term, won, err := s.Elect(t.Context(), 1)
	if err != nil || !won {
		t.Fatal(won, err)
	}
	const partitions = 100
	assigned := cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{}}
	states := map[cluster.TopicPartition]cluster.PartitionState{}
	var all []cluster.TopicPartition
	for i := range int32(partitions) {
		assigned.Partitions[i] = cluster.Assignment{Replicas: []int32{1, 2}}
		tp := cluster.TopicPartition{Topic: "t", Index: i}
		all = append(all, tp)
		states[tp] = cluster.PartitionState{Leader: 1, ControllerEpoch: 1, ISR: []int32{1, 2}}
	}
	if err := s.CreateTopic(t.Context(), "t", assigned, nil, -1); err != nil {
		t.Fatal(err)
	}
	if got := must[map[cluster.TopicPartition]cluster.PartitionState](t)(term.States(t.Context(), all)); len(got) != 0 {
		t.Fatalf("%d states of a new topic", len(got))
	}
	if failed, err := term.CreateStates(t.Context(), states); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	failed, err := term.CreateStates(t.Context(), states)
	if err != nil || len(failed) != partitions {
		t.Fatalf("%d states of %d are refused that are there, %v", len(failed), partitions, err)
	}
	wantError(t, failed[all[0]], cluster.ErrVersion)
	none := cluster.TopicPartition{Topic: "none", Index: 0}
	failed, err = term.CreateStates(t.Context(), map[cluster.TopicPartition]cluster.PartitionState{none: {Leader: 1}})
	wantError(t, failed[none], cluster.ErrUnknownPartition)
	wantError(t, err, nil)

	got := must[map[cluster.TopicPartition]cluster.PartitionState](t)(term.States(t.Context(), append(all, none)))
	if !reflect.DeepEqual(got, states) {
		t.Errorf("states %v, want %v", got, states)
	}
	stale := got[all[3]]
	stale.PartitionEpoch = 5
	got[all[3]] = stale
	versions, failed, err := term.SetStates(t.Context(), got)
	if err != nil || len(versions) != partitions-1 || len(failed) != 1 || versions[all[0]] != 1 {
		t.Errorf("%d versions, %d failed, %v", len(versions), len(failed), err)
	}
	wantError(t, failed[all[3]], cluster.ErrVersion)

	leader := states[all[3]]
	leader.ISR = []int32{1}
	if epoch := must[int32](t)(s.WriteISR(t.Context(), all[3], leader)); epoch != 1 {
		t.Errorf("partition epoch %d, want 1", epoch)
	}
	_, err = s.WriteISR(t.Context(), all[3], leader)
	wantError(t, err, cluster.ErrVersion)
}

// A deleted topic leaves nothing; a refused deletion leaves the topic.
func testDeletion(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	if err := s.ensure(t.Context(), ownTopicsPath); err != nil {
		t.Fatal(err)
	}
	before := treeText(t, s, "/")
	term, won, err := s.Elect(t.Context(), 1)
	if err != nil || !won {
		t.Fatal(won, err)
	}
	assigned := cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{0: {Replicas: []int32{1}}}}
	if err := s.CreateTopic(t.Context(), "t", assigned, map[string]string{"headwater.full": "reject"}, 7); err != nil {
		t.Fatal(err)
	}
	tp := cluster.TopicPartition{Topic: "t"}
	if failed, err := term.CreateStates(t.Context(), map[cluster.TopicPartition]cluster.PartitionState{tp: {Leader: 1}}); err != nil || len(failed) > 0 {
		t.Fatal(failed, err)
	}
	for _, name := range []string{"t", "none", "t"} {
		if err := s.RequestDeletion(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if got := must[[]string](t)(term.Deletions(t.Context())); !slices.Equal(got, []string{"none", "t"}) {
		t.Errorf("deletions %q", got)
	}
	if err := term.RefuseDeletion(t.Context(), "none"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second finds nothing to do
		if err := term.FinishDeletion(t.Context(), "t"); err != nil {
			t.Fatal(err)
		}
	}
	if err := term.Resign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := strings.ReplaceAll(treeText(t, s, "/"), "/controller_epoch 1 1\n", ""); after != before {
		t.Errorf("the tree was\n%s, and is\n%s", before, after)
	}
}

// What is too large for a node is refused before it is sent; what just fits is not.
func testTooLarge(t *testing.T, address string) {
	s, _ := begin(t, config(address))
	big := bytes.Repeat([]byte("x"), maxNodeBytes)
	if err := s.create(t.Context(), "/big", big); err != nil {
		t.Fatal(err)
	}
	if n := must[node](t)(s.get(t.Context(), "/big", nil)); !bytes.Equal(n.data, big) {
		t.Errorf("%d bytes, want %d", len(n.data), len(big))
	}
	wantError(t, s.create(t.Context(), "/bigger", append(big, 'x')), ErrTooLarge)
	_, err := s.set(t.Context(), "/big", append(big, 'x'), anyVersion)
	wantError(t, err, ErrTooLarge)
	assigned := cluster.TopicAssignment{Partitions: map[int32]cluster.Assignment{}}
	for i := range int32(100_000) {
		assigned.Partitions[i] = cluster.Assignment{Replicas: []int32{1, 2, 3}}
	}
	wantError(t, s.CreateTopic(t.Context(), "t", assigned, nil, -1), ErrTooLarge)
	if err := s.Err(); err != nil {
		t.Errorf("the session is over: %v", err)
	}
}

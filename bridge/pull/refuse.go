package pull

import (
	"fmt"
	"strings"
)

// refusedRoutes are what a partition cannot do: the answer says what can be done
// instead. JetStream's numbers are those of the operations that fail.
var refusedRoutes = []route{
	{"API.STREAM.CREATE.*", "stream_create_response", onWorker, refuseCreate},
	{"API.STREAM.UPDATE.*", "stream_update_response", onWorker, refuseUpdate},
	{"API.STREAM.DELETE.*", "stream_delete_response", onWorker, refusing(10050, "a stream is a partition of a topic: delete the topic with Kafka's tools (kafka-topics --delete)")},
	{"API.STREAM.PURGE.*", "stream_purge_response", onWorker, refusing(10110, "a partition cannot be purged: delete records up to an offset with Kafka's tools (kafka-delete-records), or let the topic's retention do it")},
	{"API.STREAM.MSG.DELETE.*", "stream_msg_delete_response", onWorker, refusing(10057, "one record of a partition cannot be deleted: delete all up to it with Kafka's tools (kafka-delete-records), or its key's in a topic with cleanup.policy=compact")},
	{"API.STREAM.SNAPSHOT.*", "stream_snapshot_response", onWorker, refusing(10064, "snapshots are not made: read the topic with a Kafka client, or copy the data directory of a stopped box")},
	{"API.STREAM.RESTORE.*", "stream_restore_response", onWorker, refusing(10062, "snapshots are not restored: publish, or write to the topic with a Kafka client")},
	{"API.STREAM.PEER.REMOVE.*", "stream_remove_peer_response", onWorker, refuseCluster},
	{"API.STREAM.LEADER.STEPDOWN.*", "stream_leader_stepdown_response", onWorker, refuseCluster},
	{"API.META.LEADER.STEPDOWN", "meta_leader_stepdown_response", onWorker, refuseCluster},
	{"API.SERVER.REMOVE", "meta_server_remove_response", onWorker, refuseCluster},
}

// unknownRoute answers what is no subject that is spoken: silence would have its
// sender wait for the timeout.
var unknownRoute = route{kind: "error_response", handle: func(s *Service, c *call) {
	s.fail(c, errBadRequest.with(fmt.Sprintf("$JS.%.100s is not spoken here", c.tokens[0])))
}}

func refusing(errCode int, why string) func(*Service, *call) {
	e := &apiError{Code: 500, ErrCode: errCode, Description: why}
	return func(s *Service, c *call) { s.fail(c, e) }
}

var refuseCluster = refusing(10006, "JetStream not in clustered mode: Kafka's tools move leaders and replicas")

// refuseCreate says how a stream comes about; and to those who would have a bucket
// of keys or objects, that there is none.
func refuseCreate(s *Service, c *call) {
	name := string(c.tokens[0])
	why := "streams are not created here, they are the partitions of topics: a publish on a subject that a rule takes makes its topic, and so does kafka-topics --create"
	switch {
	case strings.HasPrefix(name, "KV_"):
		why = "key-value buckets are not kept here: use a topic with cleanup.policy=compact, whose last record of a subject can be got directly"
	case strings.HasPrefix(name, "OBJ_"):
		why = "object stores are not kept here: a partition holds records of up to max.message.bytes"
	}
	s.fail(c, &apiError{Code: 500, ErrCode: 10049, Description: why})
}

// refuseUpdate says where settings are made. A stream that is not there is told as
// such: clients that create or update go on to create it, and are refused there.
func refuseUpdate(s *Service, c *call) {
	st, err := streamOf(c.tokens[0])
	if err == nil {
		_, err = s.bounds(st)
	}
	if err != nil {
		s.fail(c, s.apiErrorOf(err))
		return
	}
	s.fail(c, &apiError{Code: 500, ErrCode: 10069, Description: "a stream's settings are its topic's: change them with Kafka's tools (kafka-configs --alter)"})
}

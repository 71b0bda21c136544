package pull

import (
	"strings"
	"testing"
)

// What a partition cannot do is refused in JetStream's form, with a sentence that
// says what to do instead; and what nobody knows is not met with silence.
func TestRefusals(t *testing.T) {
	s := serve(t, Config{}, press(0, 10))
	for subject, want := range map[string]struct{ kind, says string }{
		"STREAM.CREATE.jobs":               {"stream_create_response", "500 10049 streams are not created here, they are the partitions of topics: a publish on a subject that a rule takes makes its topic"},
		"STREAM.CREATE.KV_settings":        {"stream_create_response", "500 10049 key-value buckets are not kept here: use a topic with cleanup.policy=compact"},
		"STREAM.CREATE.OBJ_files":          {"stream_create_response", "500 10049 object stores are not kept here"},
		"STREAM.UPDATE.press-0":            {"stream_update_response", "500 10069 a stream's settings are its topic's: change them with Kafka's tools (kafka-configs"},
		"STREAM.UPDATE.jobs":               {"stream_update_response", "404 10059 stream not found"},
		"STREAM.UPDATE.press-1":            {"stream_update_response", "404 10059 stream not found"},
		"STREAM.DELETE.press-0":            {"stream_delete_response", "500 10050 a stream is a partition of a topic: delete the topic with Kafka's tools (kafka-topics"},
		"STREAM.PURGE.press-0":             {"stream_purge_response", "500 10110 a partition cannot be purged: delete records up to an offset with Kafka's tools (kafka-delete-records)"},
		"STREAM.MSG.DELETE.press-0":        {"stream_msg_delete_response", "500 10057 one record of a partition cannot be deleted"},
		"STREAM.SNAPSHOT.press-0":          {"stream_snapshot_response", "500 10064 snapshots are not made"},
		"STREAM.RESTORE.press-0":           {"stream_restore_response", "500 10062 snapshots are not restored"},
		"STREAM.PEER.REMOVE.press-0":       {"stream_remove_peer_response", "500 10006 JetStream not in clustered mode"},
		"STREAM.LEADER.STEPDOWN.press-0":   {"stream_leader_stepdown_response", "500 10006 JetStream not in clustered mode"},
		"META.LEADER.STEPDOWN":             {"meta_leader_stepdown_response", "500 10006 JetStream not in clustered mode"},
		"SERVER.REMOVE":                    {"meta_server_remove_response", "500 10006 JetStream not in clustered mode"},
		"STREAM.TEMPLATE.CREATE.x":         {"error_response", "400 10003 bad request: $JS.API.STREAM.TEMPLATE.CREATE.x is not spoken here"},
		"STREAM.INFO":                      {"error_response", "400 10003 bad request: $JS.API.STREAM.INFO is not spoken here"},
		strings.Repeat("x", maxSubjectLen): {"error_response", "400 10003 bad request: $JS.API." + strings.Repeat("x", 96) + " is not spoken here"},
	} {
		for _, prefix := range []string{"$JS.API.", "$JS.hw.API."} {
			if got := askFor[failed](t, s, want.kind, prefix+subject, `{"name":"jobs"}`); !strings.HasPrefix(got.String(), want.says) {
				t.Errorf("%s: %v, want %s", prefix+subject, got, want.says)
			}
		}
	}
}

//go:build interop

package clients

import (
	"testing"
)

// Each client's administration makes a topic with settings, describes it, changes a
// setting, adds partitions, and deletes it.
func TestAdmin(t *testing.T) {
	each(t, func(t *testing.T, c client, brokers string) {
		topic := "admin-" + c.name
		do := func(what string, cmd command) []event {
			t.Helper()
			cmd.Do, cmd.What, cmd.Brokers, cmd.Topic = "admin", what, brokers, topic
			return c.do(t, cmd)
		}
		describe := func(partitions int, config map[string]string) {
			t.Helper()
			eventually(t, "the topic is described as it should be", func() bool {
				e := do("describe", command{})[0]
				if e.Partitions != partitions {
					return false
				}
				for name, want := range config {
					if e.Config[name] != want {
						t.Fatalf("%s is %q, want %q", name, e.Config[name], want)
					}
				}
				return true
			})
		}
		describe(0, nil)
		do("create", command{Partitions: 3, Config: map[string]string{"retention.ms": "3600000"}})
		describe(3, map[string]string{"retention.ms": "3600000", "cleanup.policy": "delete"})
		do("alter", command{Config: map[string]string{"retention.ms": "7200000"}})
		describe(3, map[string]string{"retention.ms": "7200000"})
		do("grow", command{Partitions: 5})
		describe(5, map[string]string{"retention.ms": "7200000"})
		do("delete", command{})
		describe(0, nil)
	})
}

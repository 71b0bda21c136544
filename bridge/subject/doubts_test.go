package subject

import (
	"slices"
	"testing"
)

func TestDoubts(t *testing.T) {
	have := func(topic string) (int32, bool) {
		n, ok := map[string]int32{"one": 1, "four": 4}[topic]
		return n, ok
	}
	for name, tc := range map[string]struct {
		rule       Rule
		autoCreate bool
		want       []string
	}{
		"fine":            {Rule{Topic: "one"}, true, nil},
		"exists":          {Rule{Topic: "one"}, false, nil},
		"willBeMade":      {Rule{Topic: "new"}, true, nil},
		"cannotBeMade":    {Rule{Topic: "new", Partition: "7"}, false, []string{"stores nothing: topic new does not exist, and kafka.autoCreateTopics is off"}},
		"ofTheSubject":    {Rule{Topic: "{1}"}, false, nil},
		"partitionThere":  {Rule{Topic: "four", Partition: "3"}, true, nil},
		"partitionBeyond": {Rule{Topic: "four", Partition: "4"}, true, []string{"stores nothing: partition 4 is beyond the 4 of four"}},
		"beyondByHand":    {Rule{Topic: "four", Partition: "4"}, false, []string{"stores nothing: partition 4 is beyond the 4 of four"}},
		"beyondDefault":   {Rule{Topic: "new", Partition: "2"}, true, []string{"stores nothing: partition 2 is beyond the 2 of new"}},
		"beyondMade":      {Rule{Topic: "t-{1}", Partition: "2"}, true, []string{"stores nothing: partition 2 is beyond the 2 of a topic that it makes"}},
		"madeByHand":      {Rule{Topic: "t-{1}", Partition: "2"}, false, nil},
		"limit":           {Rule{Topic: "one", MaxMessageBytes: 1000}, true, nil},
		"limitsNothing":   {Rule{Topic: "one", MaxMessageBytes: 1001}, true, []string{"limits nothing: maxMessageBytes is 1001, and nats.maxPayload 1000"}},
		"both": {Rule{Topic: "four", Partition: "9", MaxMessageBytes: 1001}, true, []string{
			"stores nothing: partition 9 is beyond the 4 of four", "limits nothing: maxMessageBytes is 1001, and nats.maxPayload 1000",
		}},
	} {
		tc.rule.Subject = "a"
		table := compileAll(t, Rule{Subject: "first", Topic: "one"}, tc.rule)
		var got []string
		for _, d := range table.Doubts(World{have, tc.autoCreate, 2, 1000}) {
			if d.Rule != 1 {
				t.Errorf("%s: a doubt about rule %d: %s", name, d.Rule, d.Text)
			}
			got = append(got, d.Text)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestNamedTopics(t *testing.T) {
	table := compileAll(t, Rule{Subject: "a", Topic: "one"}, Rule{Subject: "b", Topic: "t-{1}"}, Rule{Subject: "c", Topic: "two"})
	if got, want := table.NamedTopics(), []string{"one", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

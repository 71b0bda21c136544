package subject

import (
	"errors"
	"strings"
	"testing"
)

// Everything wrong with a list of rules is told at once, by the rule's number.
func TestValidateTellsAllAtOnce(t *testing.T) {
	err := Validate([]Rule{
		{Subject: "a..b", Topic: "ok"},
		{Subject: "plant.*.temp", Topic: "bad topic", Key: "{4}", Partition: "near"},
		{Subject: "fine.>", Topic: "fine", Key: "{7}"},
		{Subject: "fine.x", Topic: "other"},
	})
	if !errors.Is(err, ErrInvalidRule) {
		t.Fatalf("got %v, want an error that wraps ErrInvalidRule", err)
	}
	for _, want := range []string{
		`rule 0: subject: token 2 of "a..b": it is empty`,
		`rule 1: topic: invalid topic name`,
		`rule 1: key: {4} is past the end, a subject of this rule has 3 tokens`,
		`rule 1: partition: "near" is neither`,
		`rule 3: subject: "fine.x" never gets here, rule 2 ("fine.>") takes all of it`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing from:\n%v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d complaints, want 5:\n%v", n, err)
	}
}

func TestValidateOne(t *testing.T) {
	for name, tc := range map[string]struct {
		rule Rule
		want string // part of the complaint; "" when the rule is good
	}{
		"default":            {DefaultRules()[0], ""},
		"everything":         {Rule{Subject: ">", Topic: "all"}, ""},
		"topicOfTokens":      {Rule{Subject: "p.*.>", Topic: "t-{2}.{3}"}, ""},
		"literalBesideToken": {Rule{Subject: "a.b", Topic: "{1}-{2}", Key: "k{2}k", Partition: ByKey}, ""},
		"tokenMayBeThere":    {Rule{Subject: "a.>", Topic: "t", Key: "{9}"}, ""},
		"emptySubject":       {Rule{Topic: "t"}, "subject: it is empty"},
		"openInTheMiddle":    {Rule{Subject: "a.>.b", Topic: "t"}, "> can only be the last"},
		"starInToken":        {Rule{Subject: "a.b*", Topic: "t"}, "stand alone"},
		"space":              {Rule{Subject: "a.b c", Topic: "t"}, "a space"},
		"system":             {Rule{Subject: "$SYS.>", Topic: "t"}, "can match nothing"},
		"inbox":              {Rule{Subject: "_INBOX.>", Topic: "t"}, "can match nothing"},
		"long":               {Rule{Subject: strings.Repeat("a", 1025), Topic: "t"}, "at most 1024"},
		"noTopic":            {Rule{Subject: "a"}, "topic: invalid topic name: it is empty"},
		"topicSlash":         {Rule{Subject: "a", Topic: "a/b"}, "topic: invalid topic name"},
		"topicOfDots":        {Rule{Subject: "a", Topic: ".."}, "topic: invalid topic name"},
		"literalMakesItBad":  {Rule{Subject: "plant/7.*", Topic: "x{1}"}, "topic: invalid topic name"},
		"internal":           {Rule{Subject: "a", Topic: "__consumer_offsets"}, "the broker's own"},
		"tokenZero":          {Rule{Subject: "a", Topic: "t{0}"}, "not the number of a token"},
		"tokenWord":          {Rule{Subject: "a", Topic: "t{x}"}, "not the number of a token"},
		"tokenPlus":          {Rule{Subject: "a", Topic: "t{+1}"}, "not the number of a token"},
		"tokenHuge":          {Rule{Subject: "a.>", Topic: "t{99999999999999999999}"}, "not the number of a token"},
		"openBrace":          {Rule{Subject: "a", Topic: "t", Key: "{1"}, "key: \"{1\" has a brace"},
		"closeBrace":         {Rule{Subject: "a", Topic: "t", Key: "1}"}, "has a brace"},
		"topicPastEnd":       {Rule{Subject: "a.*", Topic: "t{3}"}, "topic: {3} is past the end"},
		"byNoKey":            {Rule{Subject: "a", Topic: "t", Partition: ByKey}, "needs a key"},
		"longKey":            {Rule{Subject: "a", Topic: "t", Key: strings.Repeat("k", 1025)}, "at most 1024"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Validate([]Rule{tc.rule})
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want a complaint with %q", err, tc.want)
			}
		})
	}
}

func TestValidateBoundsTheTable(t *testing.T) {
	if err := Validate(make([]Rule, MaxRules+1)); err == nil || !strings.Contains(err.Error(), "at most 256") {
		t.Errorf("got %v, want a complaint about the number of rules", err)
	}
}

func TestCovers(t *testing.T) {
	for _, tc := range []struct {
		p, q string
		want bool
	}{
		{"a.>", "a.b", true},
		{"a.>", "a.b.c.>", true},
		{"a.>", "a.>", true},
		{"a.>", "a", false},
		{"a.>", ">", false},
		{"a.*", "a.>", false},
		{"a.*", "a.*", true},
		{"a.*", "a.b.c", false},
		{"a.*.c", "a.b", false},
		{"*.b", "a.b", true},
		{"a.b", "*.b", false},
		{"*.*", "a.b", true},
		{">", "a", true},
		{"*.>", ">", false},
		{">", "*.>", true},
		{"*", ">", false},
	} {
		p, err1 := parsePattern(tc.p)
		q, err2 := parsePattern(tc.q)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		if got := p.covers(q); got != tc.want {
			t.Errorf("%q covers %q: %v, want %v", tc.p, tc.q, got, tc.want)
		}
	}
}

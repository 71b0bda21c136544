package quota

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Changes are made in their order, on a copy; what an entity has no rate of any kind
// in is not in the table.
func TestTableWith(t *testing.T) {
	press, oven, all := Entity{ClientID: "press"}, Entity{ClientID: "oven"}, Entity{Default: true}
	var table *Table
	for i, step := range []struct {
		changes []Change
		want    Table
	}{
		{nil, Table{Clients: map[string]Rates{}}},
		{[]Change{{press, Produce, 5}, {all, Fetch, 7}}, Table{Rates{0, 7}, map[string]Rates{"press": {5, 0}}}},
		{[]Change{{press, Fetch, 6}, {oven, Fetch, 1}, {oven, Fetch, 2}}, Table{Rates{0, 7}, map[string]Rates{"press": {5, 6}, "oven": {0, 2}}}},
		{[]Change{{press, Produce, 0}, {oven, Fetch, 0}, {all, Fetch, 0}, {all, Produce, 9}}, Table{Rates{9, 0}, map[string]Rates{"press": {0, 6}}}},
	} {
		before := fmt.Sprintf("%+v", table)
		next, err := table.With(step.changes)
		if err != nil || !reflect.DeepEqual(*next, step.want) {
			t.Errorf("step %d: %+v, %v; want %+v", i, next, err, step.want)
		}
		if after := fmt.Sprintf("%+v", table); i > 0 && before != after {
			t.Errorf("step %d has changed the table before it: %s, was %s", i, after, before)
		}
		if next.Equal(table) != (i == 0) || !next.Equal(next) {
			t.Errorf("step %d: equal to the one before: %v", i, next.Equal(table))
		}
		table = next
	}
}

// What cannot be is refused, and the table stays as it was.
func TestTableRefuses(t *testing.T) {
	var many []Change
	for i := range MaxEntities + 1 {
		many = append(many, Change{Entity{ClientID: fmt.Sprint(i)}, Fetch, 1})
	}
	for name, tc := range map[string]struct {
		changes []Change
		want    error
	}{
		"negative":      {[]Change{{Entity{ClientID: "press"}, Fetch, -1}}, ErrInvalid},
		"nameless":      {[]Change{{Entity{}, Fetch, 1}}, ErrInvalid},
		"longID":        {[]Change{{Entity{ClientID: strings.Repeat("x", MaxClientID+1)}, Fetch, 1}}, ErrInvalid},
		"longestID":     {[]Change{{Entity{ClientID: strings.Repeat("x", MaxClientID)}, Fetch, 1}}, nil},
		"notText":       {[]Change{{Entity{ClientID: "\xff"}, Fetch, 1}}, ErrInvalid},
		"tooMany":       {many, ErrTooMany},
		"asManyAsCan":   {many[1:], nil},
		"removesSome":   {slices.Concat(many, []Change{{Entity{ClientID: "7"}, Fetch, 0}}), nil},
		"removesNone":   {[]Change{{Entity{ClientID: "press"}, Fetch, 0}}, nil},
		"defaultAsWell": {slices.Concat(many[1:], []Change{{Entity{Default: true}, Fetch, 1}}), nil},
	} {
		next, err := (&Table{}).With(tc.changes)
		if !errors.Is(err, tc.want) || (next == nil) != (tc.want != nil) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// The names of rates are Kafka's.
func TestKindNames(t *testing.T) {
	for name, want := range map[string]Kind{"producer_byte_rate": Produce, "consumer_byte_rate": Fetch} {
		if k, ok := ParseKind(name); !ok || k != want || k.String() != name {
			t.Errorf("%s: %v, %v", name, k, ok)
		}
	}
	if k, ok := ParseKind("request_percentage"); ok {
		t.Errorf("request_percentage is %v", k)
	}
}

package topic

import (
	"errors"
	"strings"
	"testing"
)

func TestThrottledReplicas(t *testing.T) {
	for value, has := range map[string]bool{
		"": false, "none": false, "*": true, "2:7": true, "0:1,2:7": true, "0:1, 2:7": true, "7:2": false, "2:77": false,
	} {
		list, err := ParseThrottledReplicas(value)
		if err != nil || list.Has(2, 7) != has {
			t.Errorf("%q has 2:7: %v, %v; want %v", value, list.Has(2, 7), err, has)
		}
	}
	for _, value := range []string{"2", "2:", ":7", "2:7,", "2:7,*", "-2:7", "2:-7", "2:7:1", "all", strings.Repeat("2:7,", 20000) + "2:7"} {
		if list, err := ParseThrottledReplicas(value); !errors.Is(err, ErrInvalidSetting) || list != "" {
			t.Errorf("%.20q: %.20q, %v; want it refused", value, list, err)
		}
	}
}

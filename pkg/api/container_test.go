package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyrot/keyrot/pkg/api"
)

func TestContainerOf(t *testing.T) {
	t.Parallel()
	c := api.Credential{AccessKeyID: "A", SecretAccessKey: "verysecret", Expiration: time.Unix(9, 0)}
	for _, tc := range []struct{ name, agent, want string }{
		{"boto and JavaScript need a Token", "python-urllib3/2", `{"AccessKeyId":"A","SecretAccessKey":"verysecret","Token":"","Expiration":"1970-01-01T00:00:09Z"}`},
		{"JavaScript names itself not at all", "", `{"AccessKeyId":"A","SecretAccessKey":"verysecret","Token":"","Expiration":"1970-01-01T00:00:09Z"}`},
		{"Java must not see one", "aws-sdk-java/2.57.8 md/io#sync", `{"AccessKeyId":"A","SecretAccessKey":"verysecret","Expiration":"1970-01-01T00:00:09Z"}`},
		{"Ruby must not see one", "Ruby", `{"AccessKeyId":"A","SecretAccessKey":"verysecret","Expiration":"1970-01-01T00:00:09Z"}`},
	} {
		got := api.ContainerOf(c, tc.agent)
		raw, err := json.Marshal(got)
		if err != nil || string(raw) != tc.want {
			t.Errorf("%s: ContainerOf(%q) = %s, %v, want %s", tc.name, tc.agent, raw, err, tc.want)
		}
		if text := fmt.Sprintf("%v %+v %#v %s", got, got, &got, got); strings.Contains(text, "verysecret") {
			t.Errorf("%s: the secret was printed: %s", tc.name, text)
		}
	}
}

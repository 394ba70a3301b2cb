package cli

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDefaultProfile: what gives credentials goes, with the lines that continue
// it; everything else that is of the default profile stays as it is.
func TestDefaultProfile(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config, settings, services string
		found                      []string
	}{
		"none":              {"", "", "", nil},
		"of others":         {"[profile a]\nrole_arn = r\n[sso-session s]\nsso_start_url = u\n", "", "", nil},
		"nothing to hide":   {"[default]\na = r\n# role_arn = x\n; role_arn = y\n", "a = r\n", "", nil},
		"with continuation": {"[default]\ncredential_process = a\n   b\nregion = r\n", "region = r\n", "", []string{"credential_process"}},
		"indented":          {"[default]\n    credential_process = a\n    region = r\n", "region = r\n", "", []string{"credential_process"}},
		"colon, capitals":   {"[default]\nRole_ARN: r\nregion: r\n", "region = r\n", "", []string{"role_arn"}},
		"nested":            {"[default]\ns3 =\n  role_arn = x\n", "s3 =\n  role_arn = x\n", "", nil},
		"twice":             {"[default]\nrole_arn=a\n[profile default]\nsso_session=b\na=r\n", "a = r\n", "", []string{"role_arn", "sso_session"}},
		"services":          {"[default]\na = s\n[services s]\ns3 =\n  b = u\n", "a = s\n", "[services s]\ns3 =\n  b = u\n", nil},
		"windows":           {"[default]\r\naws_access_key_id=a\r\nregion=r\r\n", "region = r\n", "", []string{"aws_access_key_id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings, services, found, err := defaultProfile([]byte(c.config))
			if err != nil || settings != c.settings || services != c.services {
				t.Errorf("defaultProfile = %q, %q, %v, want %q, %q", settings, services, err, c.settings, c.services)
			}
			if diff := cmp.Diff(c.found, found); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
		})
	}
	if _, _, _, err := defaultProfile([]byte("region = r\n")); err == nil {
		t.Error("a file that the AWS CLI refuses is read")
	}
}

// TestChildEnv: no other credentials, none of keyrot's, and no proxy on the way
// to the endpoint.
func TestChildEnv(t *testing.T) {
	t.Parallel()
	got := childEnv([]string{
		"HOME=/h", "AWS_PROFILE=p", "KEYROT_API_KEY=k", "AWS_REGION=r", "no_proxy=.a, 127.0.0.1", "NO_PROXY=*", "HTTP_PROXY=http://p",
	})
	want := []string{
		"HOME=/h", "AWS_REGION=r", "HTTP_PROXY=http://p", "NO_PROXY=*", "no_proxy=.a,127.0.0.1,localhost",
		"AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_CREDENTIAL_PROFILES_FILE=" + os.DevNull,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("childEnv (-want +got):\n%s", diff)
	}
}

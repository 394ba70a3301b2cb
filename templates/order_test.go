package templates_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var inSub = regexp.MustCompile(`\$\{([A-Za-z0-9]+)`)

// refers lists what a value refers to: resources, parameters, conditions.
func refers(v any) (names []string) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			names = append(names, refers(x)...)
		}
	case map[string]any:
		for k, x := range v {
			switch text := fmt.Sprint(x); k {
			case "Ref":
				names = append(names, text)
			case "Fn::GetAtt":
				name, _, _ := strings.Cut(text, ".")
				names = append(names, name)
			case "DependsOn":
				names = append(names, strings.Fields(strings.Trim(text, "[]"))...)
			case "Fn::Sub":
				for _, m := range inSub.FindAllStringSubmatch(text, -1) {
					names = append(names, m[1])
				}
			}
			names = append(names, refers(x)...)
		}
	}
	return names
}

// A stack that is not made to its end is rolled back, and its table and key go
// with it. A tick before that would leave keys of which nobody knows the secret:
// everything else is there before the rule that calls the rotator, and the
// permission without which it calls in vain comes last of all.
func TestTheFirstTickComesLast(t *testing.T) {
	t.Parallel()
	resources := load(t)["Resources"].(map[string]any)
	before := map[string]map[string]bool{}
	var ancestors func(name string) map[string]bool
	ancestors = func(name string) map[string]bool {
		if before[name] == nil {
			before[name] = map[string]bool{}
			for _, r := range refers(resources[name]) {
				if resources[r] != nil {
					before[name][r] = true
					for a := range ancestors(r) {
						before[name][a] = true
					}
				}
			}
		}
		return before[name]
	}
	for name := range resources {
		if name != "Tick" && !ancestors("Tick")[name] && !ancestors(name)["Tick"] {
			t.Errorf("the rule that calls the rotator may be there before %s", name)
		}
		if name != "TickPermission" && !ancestors("TickPermission")[name] {
			t.Errorf("the rule may call the rotator before %s is there", name)
		}
	}
	// Nothing else calls the rotator.
	var callers []string
	for name, r := range resources {
		if at(r, "Type") == "AWS::Lambda::Permission" && slices.Contains(refers(at(r, "Properties", "FunctionName")), "Rotator") {
			callers = append(callers, name)
		}
	}
	if !slices.Equal(callers, []string{"TickPermission"}) {
		t.Errorf("the rotator may be called by %v, want TickPermission alone", callers)
	}
}

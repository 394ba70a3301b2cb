package quick

// args returns the command line. Package os has it, too, but would have to be
// waited for.
func args() (all []string) {
	raw, err := ReadFile("/proc/self/cmdline")
	if err != nil {
		return nil
	}
	for i, from := 0, 0; i < len(raw); i++ {
		if raw[i] == 0 {
			all = append(all, string(raw[from:i]))
			from = i + 1
		}
	}
	return all
}

package unpack_test
import ("os";"strconv")
func envWorkers() int { n,_ := strconv.Atoi(os.Getenv("W")); return n }

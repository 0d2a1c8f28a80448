from services.inference.service import build
from services.runtime.server import main

main(build, "inference")

// Runs a program that `lrpc export DIR --to pt2` wrote: from C++, with libtorch alone.
//
//   explain FILE.pt2 IMAGE HEIGHT WIDTH QUERY CLASS OUT
//
// IMAGE holds the float32 numbers of one image [3, HEIGHT, WIDTH] as they lie in memory; the
// relevance of the image is written to OUT in the same form. Of a file with a ledger, it prints what
// relevance started with and what has arrived at the image. See docs/tutorials/export.md.
#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cstdint>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 8) {
    std::cerr << "usage: explain FILE.pt2 IMAGE HEIGHT WIDTH QUERY CLASS OUT\n";
    return 2;
  }
  const std::int64_t height = std::stoll(argv[3]), width = std::stoll(argv[4]);
  at::Tensor images = at::empty({1, 3, height, width});
  const auto bytes = static_cast<std::streamsize>(images.nbytes());
  std::ifstream image(argv[2], std::ios::binary);
  if (!image.read(static_cast<char*>(images.data_ptr()), bytes)) {
    std::cerr << argv[2] << ": fewer than " << bytes << " bytes\n";
    return 1;
  }
  at::Tensor at = at::empty({1, 1, 2}, at::kLong);  // [K, B, 2]: query and class
  at[0][0][0] = static_cast<std::int64_t>(std::stoll(argv[5]));
  at[0][0][1] = static_cast<std::int64_t>(std::stoll(argv[6]));

  c10::InferenceMode guard;
  torch::inductor::AOTIModelPackageLoader program(argv[1]);
  const auto facts = program.get_metadata();
  for (const auto& [name, value] : facts) {
    if (name == "target" || name == "outputs") std::cout << name << ": " << value << "\n";
  }
  std::vector<at::Tensor> found = program.run({images, at});  // outputs, relevance, the ledger
  if (facts.count("ledger")) {
    const at::Tensor rows = found.back();  // [R, K, B]
    found.pop_back();
    std::cout << std::setprecision(17) << "start: " << rows[0].item<double>()
              << "\nend: " << rows[1].item<double>() << "\n";
  }
  const at::Tensor relevance = found.back().contiguous();
  std::ofstream out(argv[7], std::ios::binary);
  out.write(static_cast<const char*>(relevance.const_data_ptr()),
            static_cast<std::streamsize>(relevance.nbytes()));
  return out.good() ? 0 : 1;
}

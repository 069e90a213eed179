// The zoo: every published checkpoint this version runs, with its file, network, licence and origin.
// Data flow: README's table, `sampan info`, and sampan-convert's notes print these rows; weights/family.hpp holds the input contract each row points to.
// A new checkpoint of a known network is one row here. Weights are never bundled: the file names are those of their publishers.
#pragma once
#include <sampan/weights/family.hpp>

namespace sampan::inline SAMPAN_ABI::models {

struct ZooRow {
  std::string_view file;     ///< the publisher's file name
  std::string_view name;
  std::string_view family;   ///< row of weights/family.hpp = input contract; the --family of sampan-convert
  std::int64_t parameters;   ///< values that the network uses, BatchNorm statistics included; unused classifier heads and counters are not
  int image_size;
  std::string_view licence;  ///< of the weights, as published
  std::string_view origin;
};

inline constexpr ZooRow kZoo[] = {
    {"sam_vit_b_01ec64.pth", "SAM ViT-B", "sam", 93'735'728, 1024, "Apache-2.0", "facebookresearch/segment-anything"},
    {"sam_vit_l_0b3195.pth", "SAM ViT-L", "sam", 312'343'088, 1024, "Apache-2.0", "facebookresearch/segment-anything"},
    {"sam_vit_h_4b8939.pth", "SAM ViT-H", "sam", 641'090'864, 1024, "Apache-2.0", "facebookresearch/segment-anything"},
    {"medsam_vit_b.pth", "MedSAM", "medsam", 93'735'728, 1024, "Apache-2.0", "bowang-lab/MedSAM"},
    {"ScribblePrompt_sam_v1_vit_b_res128.pt", "ScribblePrompt-SAM", "scribbleprompt", 93'735'728, 1024, "Apache-2.0", "halleewong/ScribblePrompt"},
    {"model.safetensors", "SlimSAM-50", "sam", 27'962'032, 1024, "Apache-2.0", "Zigeng/SlimSAM-uniform-50 on Hugging Face (czg1225/SlimSAM)"},
    {"model.safetensors", "SlimSAM-77", "sam", 9'723'784, 1024, "Apache-2.0", "Zigeng/SlimSAM-uniform-77 on Hugging Face (czg1225/SlimSAM)"},
    {"sam-med2d_b.pth", "SAM-Med2D", "sam_med2d", 271'242'032, 256, "Apache-2.0", "OpenGVLab/SAM-Med2D"},
    {"lite_medsam.pth", "LiteMedSAM", "lite_medsam", 9'801'412, 256, "Apache-2.0", "bowang-lab/MedSAM, branch LiteMedSAM"},
    {"sam_med3d.pth", "SAM-Med3D", "sam_med3d", 100'509'616, 128, "Apache-2.0", "blueyo0/SAM-Med3D on Hugging Face (uni-medical/SAM-Med3D)"},
    {"sam_med3d_turbo.pth", "SAM-Med3D-turbo", "sam_med3d", 100'509'616, 128, "Apache-2.0", "blueyo0/SAM-Med3D on Hugging Face (uni-medical/SAM-Med3D)"},
    {"mobile_sam.pt", "MobileSAM", "mobile_sam", 9'818'564, 1024, "Apache-2.0", "ChaoningZhang/MobileSAM"},
    {"epoch_159.pth", "SAMed (Synapse)", "samed", 92'045'269, 512, "MIT", "hitachinsk/SAMed"},
    {"tinysam.pth", "TinySAM", "tiny_sam", 9'818'564, 1024, "Apache-2.0", "xinghaochen/TinySAM"},
    {"sam_hq_vit_b.pth", "SAM-HQ ViT-B", "sam_hq", 94'806'832, 1024, "Apache-2.0", "SysCV/sam-hq"},
    {"sam_hq_vit_l.pth", "SAM-HQ ViT-L", "sam_hq", 313'676'336, 1024, "Apache-2.0", "SysCV/sam-hq"},
    {"sam_hq_vit_h.pth", "SAM-HQ ViT-H", "sam_hq", 642'686'256, 1024, "Apache-2.0", "SysCV/sam-hq"},
    {"sam_hq_vit_tiny.pth", "Light HQ-SAM", "sam_hq_tiny", 10'267'076, 1024, "Apache-2.0", "SysCV/sam-hq"},
    {"efficient_sam_vitt.pt", "EfficientSAM-Ti", "efficient_sam", 10'223'460, 1024, "Apache-2.0", "yformer/EfficientSAM"},
    {"efficient_sam_vits.pt", "EfficientSAM-S", "efficient_sam", 26'413'284, 1024, "Apache-2.0", "yformer/EfficientSAM"},
    {"efficientvit_sam_l0.pt", "EfficientViT-SAM-L0", "efficientvit_sam", 34'816'016, 512, "Apache-2.0", "mit-han-lab/efficientvit"},
    {"efficientvit_sam_l1.pt", "EfficientViT-SAM-L1", "efficientvit_sam", 47'682'576, 512, "Apache-2.0", "mit-han-lab/efficientvit"},
    {"efficientvit_sam_l2.pt", "EfficientViT-SAM-L2", "efficientvit_sam", 61'372'176, 512, "Apache-2.0", "mit-han-lab/efficientvit"},
    {"efficientvit_sam_xl0.pt", "EfficientViT-SAM-XL0", "efficientvit_sam", 117'011'728, 1024, "Apache-2.0", "mit-han-lab/efficientvit"},
    {"efficientvit_sam_xl1.pt", "EfficientViT-SAM-XL1", "efficientvit_sam", 203'440'912, 1024, "Apache-2.0", "mit-han-lab/efficientvit"},
    {"edge_sam.pth", "EdgeSAM", "edge_sam", 9'629'360, 1024, "S-Lab License 1.0 (non-commercial)", "chongzhou96/EdgeSAM"},
    {"edge_sam_3x.pth", "EdgeSAM-3x", "edge_sam", 9'629'360, 1024, "S-Lab License 1.0 (non-commercial)", "chongzhou96/EdgeSAM"},
};

}  // namespace sampan::inline SAMPAN_ABI::models
